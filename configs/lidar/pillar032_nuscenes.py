# Pillars of 0.32 m, the size of the teacher of RDD's compact pillar detectors (Li et al., ICCV 2023). Its sizes are all
# whole fractions of +-57.6 m, so that all of them see the same ground.
_base_ = [
    "../_base_/runtime.py",
    "../_base_/schedule.py",
    "../_base_/nuscenes.py",
    "../_base_/bev_full.py",
]

model = dict(
    data_preprocessor=dict(type="Det3DDataPreprocessor"),
    grid=dict(x_range=(-57.6, 57.6), y_range=(-57.6, 57.6), cell=0.32),
    lidar_encoder=dict(
        type="PillarEncoder", out_channels=64, pillar_channels=64, downsample=1, max_pillars=(40000, 60000)
    ),
    bev_encoder=dict(
        backbone=dict(out_channels=[64, 128, 256], layer_nums=[3, 5, 5], layer_strides=[1, 2, 2]),
        neck=dict(in_channels=[64, 128, 256], out_channels=[128, 128, 128], upsample_strides=[1, 2, 4]),
    ),
)

train_pipeline = [
    dict(type="LoadSweeps", sweeps=9),
    dict(type="BEVAugment"),
    dict(type="PackBEV"),
]
test_pipeline = [dict(type="LoadSweeps", sweeps=9), dict(type="PackBEV")]
modality = dict(use_lidar=True, use_camera=False)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=modality))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, modality=modality))
test_dataloader = val_dataloader
