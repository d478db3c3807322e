"""Data: info files, nuScenes samples, synthetic worlds. Light by itself; ``bevkd.datasets.nuscenes`` brings mmdet3d and
registers the data set with its transforms."""
