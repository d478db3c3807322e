# The voxel detector that trains in minutes on two cores: voxels of 0.25 m, channels 8, 16, 32 at three heights.
_base_ = [
    "../_base_/runtime.py",
    "../_base_/schedule_short.py",
    "../_base_/synthetic.py",
    "../_base_/bev_small.py",
]

model = dict(
    data_preprocessor=dict(type="Det3DDataPreprocessor"),
    lidar_encoder=dict(
        type="VoxelEncoder",
        width=0.5,
        blocks=1,
        downsample=4,
        voxel_height=0.25,
        max_points=16,
        max_voxels=(30000, 40000),
        momentum=0.1,
    ),
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
