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
