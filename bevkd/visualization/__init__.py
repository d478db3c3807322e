"""Pictures and reports: BEV features, camera views, loss curves, 3D scenes. Always headless."""

from bevkd.visualization.bev import bev_feature_image, draw_bev_comparison
from bevkd.visualization.cameras import draw_cameras

__all__ = ["bev_feature_image", "draw_bev_comparison", "draw_cameras"]
