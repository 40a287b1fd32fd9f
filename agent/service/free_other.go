//go:build !linux

package service

// UnmapProgram does nothing here.
func UnmapProgram() {}
