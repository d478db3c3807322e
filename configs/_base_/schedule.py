# One cycle of AdamW: a linear warm-up over the first tenth, then a cosine down to a hundredth of the peak.
# To train longer, set max_epochs and start anew: a resumed run keeps the ends of the schedule it began with.
max_epochs = 20
lr = 1e-3

train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=lr, weight_decay=0.01),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=max_epochs // 10, by_epoch=True, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs - max_epochs // 10,
        eta_min=lr * 0.01,
        begin=max_epochs // 10,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
