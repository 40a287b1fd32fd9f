//go:build !linux

package service

func unmapFiles() {}
