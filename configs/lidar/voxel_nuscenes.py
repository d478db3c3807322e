# Sparse voxels of 0.075 x 0.075 x 0.2 m on ten LiDAR sweeps, full size.
_base_ = [
    "../_base_/runtime.py",
    "../_base_/schedule.py",
    "../_base_/nuscenes.py",
    "../_base_/bev_full.py",
]

model = dict(
    data_preprocessor=dict(type="Det3DDataPreprocessor"),
    lidar_encoder=dict(type="VoxelEncoder", downsample=8, voxel_height=0.2, max_voxels=(120000, 160000)),
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
