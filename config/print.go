package config

import "io"

// Print writes the effective configuration.
func (l *Loaded) Print(w io.Writer, origins bool) error { return nil }
