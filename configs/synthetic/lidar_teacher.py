# The teacher of the demo: a pillar detector that trains in minutes on two cores.
_base_ = [
    "../_base_/runtime.py",
    "../_base_/schedule_short.py",
    "../_base_/synthetic.py",
    "../_base_/bev_small.py",
]

model = dict(
    data_preprocessor=dict(type="Det3DDataPreprocessor"),
    lidar_encoder=dict(type="PillarEncoder", out_channels=64, pillar_channels=32, downsample=2, max_points=16),
)

train_pipeline = [
    dict(type="LoadSweeps", sweeps=0),
    {{_base_.augment}},
    dict(type="PackBEV"),
]
test_pipeline = [dict(type="LoadSweeps", sweeps=0), dict(type="PackBEV")]
modality = dict(use_lidar=True, use_camera=False)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=modality))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, modality=modality))
test_dataloader = val_dataloader
