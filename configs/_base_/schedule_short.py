# AdamW for minutes on a CPU: as schedule.py, with a larger step, a warm-up of thirty steps and few epochs.
lr = 2e-3

train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=1000)  # validation after the last epoch only
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=lr, weight_decay=0.01),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=30, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.01, begin=0, by_epoch=True, convert_to_iter_based=True),
]
