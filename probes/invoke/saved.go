package invoke

import "io"

// ParseSaved reads answers that somebody saved.
func ParseSaved(r io.Reader) ([]Answer, error) { return nil, nil }
