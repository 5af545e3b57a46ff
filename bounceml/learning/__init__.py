"""Everything that learns or measures; the only floor that knows scikit-learn. Install with ``bounceml[train]``."""
