"""The leak auditor."""
