# A pillar detector on one frame of all five LiDARs, both returns, full size: 256 x 256 cells of 0.6 m.
_base_ = [
    "../_base_/runtime.py",
    "../_base_/schedule.py",
    "../_base_/waymo.py",
    "../_base_/bev_full.py",
]

model = dict(
    data_preprocessor=dict(type="Det3DDataPreprocessor"),
    grid={{_base_.grid}},
    classes={{_base_.classes}},
    lidar_encoder=dict(
        type="PillarEncoder",
        out_channels=256,
        pillar_channels=64,
        downsample=4,
        z_range={{_base_.z_range}},
        max_pillars=(80000, 120000),
        intensity_max=1.0,
    ),
    head=dict(tasks={{_base_.tasks}}),
)

train_pipeline = [
    dict(type="LoadWaymoPoints"),
    dict(type="BEVAugment"),
    dict(type="PackBEV"),
]
test_pipeline = [dict(type="LoadWaymoPoints"), dict(type="PackBEV")]
modality = dict(use_lidar=True, use_camera=False)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=modality))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, modality=modality))
test_dataloader = val_dataloader
