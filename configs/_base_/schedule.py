# AdamW: a linear warm-up over the first epoch, under a cosine from lr down to a hundredth of it at the run's end.
# The cosine takes its length from train_cfg.max_epochs, so `--cfg-options train_cfg.max_epochs=4` is all a shorter run
# needs. A resumed run keeps the schedule that it began with, whatever max_epochs says then.
lr = 1e-3

train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=1000)  # validation after the last epoch only
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=lr, weight_decay=0.01),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.01, begin=0, by_epoch=True, convert_to_iter_based=True),
]
