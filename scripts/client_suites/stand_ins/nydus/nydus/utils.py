from nydus.missing import missing

apply_defaults = missing("apply_defaults")
