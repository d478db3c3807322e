# A pillar detector that trains in minutes on two cores.
_base_ = [
    "../_base_/runtime.py",
    "../_base_/schedule_short.py",
    "../_base_/waymo_synthetic.py",
    "../_base_/bev_small.py",
]

model = dict(
    data_preprocessor=dict(type="Det3DDataPreprocessor"),
    classes={{_base_.classes}},
    lidar_encoder=dict(
        type="PillarEncoder",
        out_channels=64,
        pillar_channels=32,
        downsample=2,
        max_points=16,
        z_range={{_base_.z_range}},
        intensity_max=1.0,
    ),
    head=dict(tasks={{_base_.tasks}}, test_cfg=dict(min_radius={{_base_.radii}})),
)

train_pipeline = [
    dict(type="LoadWaymoPoints"),
    {{_base_.augment}},
    dict(type="PackBEV"),
]
test_pipeline = [dict(type="LoadWaymoPoints"), dict(type="PackBEV")]
modality = dict(use_lidar=True, use_camera=False)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=modality))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, modality=modality))
test_dataloader = val_dataloader
