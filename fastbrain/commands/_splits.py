"""Options of splits, shared by the commands that make splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..data import Split, split_by, split_folds, split_unseen
from ..data.readers.events import Trial
from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """One of three ways to make a split."""

    test_subjects: tuple[str, ...] = ()
    """Test on these people and on stimuli that the training part lacks."""
    split_by: Literal[
        "run", "subject", "stimulus", "session", "category", "story", "family", "site"
    ] = "run"
    """Without --test-subjects: unit named by --train, --val and --test, or kept whole by folds."""
    train: tuple[str, ...] = ()
    """Values of the training part."""
    val: tuple[str, ...] = ()
    """Values of the validation part."""
    test: tuple[str, ...] = ()
    """Values of the test part."""
    new_stimuli: bool = False
    """With --train, --val and --test: no part has a stimulus of a later one."""
    folds: int | None = None
    """In place of --train, --val and --test: number of cross-validation folds."""
    fold: int = 0
    """Which of the folds to test on, from 0; the next one validates."""
    closed_set: bool = False
    """The texts are a closed set (for example categories) that training may contain completely."""
    val_fraction: float = 0.2
    """With --test-subjects: share of the other people's runs for validation."""

    def splitter(self, command: str, *, need_test: bool = True) -> Callable[[list[Trial]], Split]:
        """Return the function from trials to the requested split.

        Without `need_test`, the test part may be empty.

        Raises
        ------
        ConfigError
            No way to split was given, or several were.
        """
        key = self.split_by
        train, val, test = named = tuple(
            plain_labels(key, values) for values in (self.train, self.val, self.test)
        )
        if bool(self.test_subjects) + any(named) + (self.folds is not None) > 1:
            raise ConfigError(
                f"{command}: a split must be given in one way. Use --test-subjects, or --train, "
                "--val and --test, or --folds."
            )
        if self.test_subjects:
            return lambda trials: split_unseen(
                trials,
                test_subjects=plain_labels("subject", self.test_subjects),
                val_fraction=self.val_fraction,
                closed_set=self.closed_set,
            )
        if self.folds is not None:
            folds, fold = self.folds, self.fold
            if not 0 <= fold < max(folds, 1):  # too few folds are refused by split_folds
                raise ConfigError(f"{command}: --fold must be 0..{folds - 1}, got {fold}.")
            return lambda trials: split_folds(trials, key, folds=folds, closed_set=self.closed_set)[
                fold
            ]
        if not all(named if need_test else named[:2]):
            raise ConfigError(
                f"{command}: a split must be given. Use --test-subjects, all of --train, --val, "
                "--test, or --folds."
            )
        return lambda trials: split_by(
            trials,
            key,
            train=train,
            val=val,
            test=test,
            closed_set=self.closed_set,
            new_stimuli=self.new_stimuli,
        )


_PREFIXES = {"subject": "sub-", "session": "ses-", "run": "run-"}


def plain_labels(key: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return labels without the prefix of their BIDS entity: ``sub-06`` is ``06``."""
    return tuple(value.removeprefix(_PREFIXES.get(key, "")) for value in values)
