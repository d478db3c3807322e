# A folder made by tools/create_data.py synthetic, on a machine with few cores. (Recipes pass on _base_ files, which
# therefore have none of their own.)
data_root = "data/synthetic/"
# Mirroring only: in a training this short every further augmentation costs more than it gives.
augment = dict(type="BEVAugment", rotation=(0.0, 0.0), scale=(1.0, 1.0), translation_std=0.0, flip=0.5)
train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="NuScenesBEVDataset", data_root=data_root, ann_file="nuscenes_infos_train.pkl"),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="NuScenesBEVDataset", data_root=data_root, ann_file="nuscenes_infos_val.pkl", test_mode=True),
)
val_evaluator = dict(type="NuScenesBEVMetric", data_root=data_root, ann_file="nuscenes_infos_val.pkl")
test_dataloader = val_dataloader
test_evaluator = val_evaluator

# Pipelines with both sensors, for fusion and for students whose teacher has the other one.
image_size = (128, 352)
normalised_images = dict(type="Det3DDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
both_sensors = dict(use_lidar=True, use_camera=True)
train_both = [
    dict(type="LoadSweeps", sweeps=0),
    dict(type="LoadCameras", size=image_size),
    augment,
    dict(type="PackBEV"),
]
test_both = [dict(type="LoadSweeps", sweeps=0), dict(type="LoadCameras", size=image_size), dict(type="PackBEV")]
# The same where the student also sees the key frame before.
train_both_previous = [
    dict(type="LoadSweeps", sweeps=0),
    dict(type="LoadCameras", size=image_size, previous=True),
    augment,
    dict(type="PackBEV"),
]
test_camera_previous = [dict(type="LoadCameras", size=image_size, previous=True), dict(type="PackBEV")]
