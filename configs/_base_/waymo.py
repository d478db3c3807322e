# The Waymo Open Dataset v2: run tools/create_data.py waymo on the folder first. Every fifth frame is trained on.
data_root = "data/waymo/"
classes = ("Car", "Pedestrian", "Cyclist")
tasks = [["Car"], ["Pedestrian"], ["Cyclist"]]
cameras = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_SIDE_LEFT", "CAM_SIDE_RIGHT")
grid = dict(x_range=(-76.8, 76.8), y_range=(-76.8, 76.8), cell=0.6)
z_range = (-2.0, 4.0)  # metres above the road, on which the vehicle frame stands
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="WaymoBEVDataset", data_root=data_root, ann_file="waymo_infos_train.pkl", load_interval=5),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="WaymoBEVDataset", data_root=data_root, ann_file="waymo_infos_val.pkl", test_mode=True),
)
val_evaluator = dict(type="WaymoBEVMetric", data_root=data_root, ann_file="waymo_infos_val.pkl")
test_dataloader = val_dataloader
test_evaluator = val_evaluator
