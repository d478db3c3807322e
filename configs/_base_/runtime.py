# What every run has. `tools/train.py` adds checkpoints that survive a kill, the stop on SIGTERM and NaN, and a summary.
default_scope = "mmdet3d"
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=20),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="AtomicCheckpointHook", interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")])
log_processor = dict(
    type="LogProcessor",
    window_size=20,
    by_epoch=True,
    mean_pattern=r".*(loss|time|data_time|grad_norm|kd/|info/).*",  # what distillation logs is averaged like any loss
)
log_level = "INFO"
load_from = None
resume = False
randomness = dict(seed=0)
