from .feature_files import write_features as write_features
from .features import FeatureExtractor as FeatureExtractor
from .features import Features as Features
from .fill_mask import Fills as Fills
from .fill_mask import MaskFiller as MaskFiller
