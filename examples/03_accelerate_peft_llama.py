"""
Faster LoRA in a stock Llama
============================

``fb.accelerate_peft`` fuses the adapted layers of a model that PEFT has wrapped. Names, training
and checkpoints remain those of PEFT. The Llama has random weights and two layers, so nothing is
downloaded; a pretrained one is used in the same way.
"""

# %%
# A model of transformers with LoRA in attention and MLP.
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

import fastbrain as fb

sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
config = LlamaConfig(vocab_size=512, num_attention_heads=4, num_key_value_heads=2, **sizes)
torch.manual_seed(0)
llama = LlamaForCausalLM(config).eval()
targets = ["q_proj", "v_proj", "up_proj", "down_proj"]
model = get_peft_model(llama, LoraConfig(r=8, target_modules=targets, init_lora_weights=False))
tokens = torch.randint(512, (2, 24))
before = model(tokens).logits.detach()

# %%
# One call. The report names every layer that was left unchanged, with the reason.
report = fb.accelerate_peft(model)
print(report)
after = model(tokens).logits.detach()
print(f"largest difference of the logits: {(after - before).abs().max():.1e}")
torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)

# %%
# Training reaches the adapters through the fused backward pass.
optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2)
losses = []
for _ in range(10):
    losses.append(model(tokens, labels=tokens).loss)
    optimizer.zero_grad()
    losses[-1].backward()
    optimizer.step()
print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")
assert losses[-1] < losses[0]

# %%
# The adapter is saved by PEFT and loads without fastbrain.
report.undo()
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    fresh = LlamaForCausalLM(config).eval()
    fresh.load_state_dict(model.unload().state_dict())
    again = PeftModel.from_pretrained(fresh, folder)
    assert torch.isfinite(again(tokens).logits).all()
    print(sum("lora" in name for name, _ in again.named_parameters()), "adapter tensors loaded")
