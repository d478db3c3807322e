# Which weights of the losses: one seed, validation scenes only, before configs/compare/bench.py measures the choice.
#   python tools/compare.py configs/compare/weights.py --threads 2
# Names of arms: path, method, weights (UniDistill: feature, relation, response).
_base_ = "./bench.py"

unseen = None
seeds = (0,)

_lidar = {"train_cfg.max_epochs": 2}
_camera = {"train_cfg.max_epochs": 6}
_uni_lidar = dict(
    path="LiDAR + camera → LiDAR",
    config="configs/unidistill/fusion_to_lidar_synthetic.py",
    teacher="fusion",
    student="lidar",
)
_uni_camera = dict(
    path="LiDAR → camera", config="configs/synthetic/unidistill_lidar_to_camera.py", teacher="lidar", student="camera"
)
_rdd = dict(path="LiDAR → compact LiDAR", config="configs/rdd/pillar_synthetic.py", teacher="lidar", student="lidar")
_distillbev = dict(
    path="LiDAR → camera", config="configs/distillbev/lidar_to_camera_synthetic.py", teacher="lidar", student="camera"
)
_compact = {**_lidar, "model.student.lidar_encoder.downsample": 1}
_uni = "model.methods.unidistill."
_rdd_weights = {
    times: {"+model.methods.rdd.feature": 0.2 * times, "+model.methods.rdd.logit": 0.2 * times} for times in (5, 25)
}

arms = dict(
    _delete_=True,
    f2l_10_1_10=dict(**_uni_lidar, method="UniDistill 10, 1, 10 (paper)", options=_compact),
    f2l_10_40_10=dict(**_uni_lidar, method="UniDistill 10, 40, 10", options={**_compact, _uni + "relation": 40.0}),
    f2l_30_40_10=dict(
        **_uni_lidar,
        method="UniDistill 30, 40, 10",
        options={**_compact, _uni + "feature": 30.0, _uni + "relation": 40.0},
    ),
    f2l_10_40_30=dict(
        **_uni_lidar,
        method="UniDistill 10, 40, 30",
        options={**_compact, _uni + "relation": 40.0, _uni + "response": 30.0},
    ),
    l2c_100_40_10=dict(**_uni_camera, method="UniDistill 100, 40, 10 (paper)", options=_camera),
    l2c_10_40_10=dict(**_uni_camera, method="UniDistill 10, 40, 10", options={**_camera, _uni + "feature": 10.0}),
    l2c_30_40_30=dict(
        **_uni_camera,
        method="UniDistill 30, 40, 30",
        options={**_camera, _uni + "feature": 30.0, _uni + "response": 30.0},
    ),
    rdd_1=dict(**_rdd, method="RDD 0.2, 0.2 (paper)", options=_lidar),
    rdd_5=dict(**_rdd, method="RDD 1, 1", options={**_lidar, **_rdd_weights[5]}),
    rdd_25=dict(**_rdd, method="RDD 5, 5", options={**_lidar, **_rdd_weights[25]}),
    distillbev_1=dict(**_distillbev, method="DistillBEV (paper)", options=_camera),
)
