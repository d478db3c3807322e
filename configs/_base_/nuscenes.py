# nuScenes, mini or whole: run tools/create_data.py nuscenes on the folder first.
data_root = "data/nuscenes/"
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="NuScenesBEVDataset", data_root=data_root, ann_file="nuscenes_infos_train.pkl"),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="NuScenesBEVDataset", data_root=data_root, ann_file="nuscenes_infos_val.pkl", test_mode=True),
)
val_evaluator = dict(type="NuScenesBEVMetric", data_root=data_root, ann_file="nuscenes_infos_val.pkl")
test_dataloader = val_dataloader
test_evaluator = val_evaluator

# Pipelines with both sensors, for fusion and for students whose teacher has the other one.
image_size = (256, 704)
image_augment = dict(resize=(0.877, 1.25), rotate=(-5.4, 5.4), flip=True)
normalised_images = dict(type="Det3DDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
both_sensors = dict(use_lidar=True, use_camera=True)
train_both = [
    dict(type="LoadSweeps", sweeps=9),
    dict(type="LoadCameras", size=image_size, augment=image_augment),
    dict(type="BEVAugment"),
    dict(type="PackBEV"),
]
test_both = [dict(type="LoadSweeps", sweeps=9), dict(type="LoadCameras", size=image_size), dict(type="PackBEV")]
# The same where the student also sees the key frame before.
train_both_previous = [
    dict(type="LoadSweeps", sweeps=9),
    dict(type="LoadCameras", size=image_size, augment=image_augment, previous=True),
    dict(type="BEVAugment"),
    dict(type="PackBEV"),
]
test_camera_previous = [dict(type="LoadCameras", size=image_size, previous=True), dict(type="PackBEV")]
