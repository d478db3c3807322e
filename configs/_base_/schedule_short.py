# Minutes on a CPU: a larger step, a warm-up of some thirty steps and few epochs.
_base_ = "./schedule.py"

lr = 2e-3
train_cfg = dict(max_epochs=3)
optim_wrapper = dict(optimizer=dict(lr=lr))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=30, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min=lr * 0.01, begin=0, by_epoch=True, convert_to_iter_based=True),
]
