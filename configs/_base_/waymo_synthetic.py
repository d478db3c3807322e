# A folder made by tools/create_data.py synthetic --format waymo and tools/create_data.py waymo, on a machine with few
# cores.
data_root = "data/synthetic_waymo/"
classes = ("Car", "Pedestrian", "Cyclist")
tasks = [["Car"], ["Pedestrian"], ["Cyclist"]]
radii = [4.0, 0.175, 0.85]  # squared metres of circle NMS, by task
cameras = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_SIDE_LEFT", "CAM_SIDE_RIGHT")
z_range = (-2.0, 4.0)  # metres above the road, on which the vehicle frame stands
augment = dict(type="BEVAugment", rotation=(0.0, 0.0), scale=(1.0, 1.0), translation_std=0.0, flip=0.5)
train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="WaymoBEVDataset", data_root=data_root, ann_file="waymo_infos_train.pkl"),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="WaymoBEVDataset", data_root=data_root, ann_file="waymo_infos_val.pkl", test_mode=True),
)
val_evaluator = dict(type="WaymoBEVMetric", data_root=data_root, ann_file="waymo_infos_val.pkl")
test_dataloader = val_dataloader
test_evaluator = val_evaluator
