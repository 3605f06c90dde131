package client

// mayWrite reports true: whether files can be made is seen when they are.
func mayWrite(string) bool { return true }
