from nydus.missing import missing

EventualCommand = missing("EventualCommand")
