package config

import _ "embed"

//go:embed starter.yaml
var starter string

// Starter returns a commented file to start from. It loads as it is; its names
// and ids are placeholders.
func Starter() string { return starter }
