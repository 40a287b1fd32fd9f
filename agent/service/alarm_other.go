//go:build !linux

package service

import (
	"errors"
	"time"
)

// An Alarm is a timer of the kernel's. There is none here.
type Alarm struct{}

// NewAlarm fails.
func NewAlarm() (*Alarm, error) { return nil, errors.ErrUnsupported }

// Rings never delivers.
func (*Alarm) Rings() <-chan time.Time { return nil }

// Set does nothing.
func (*Alarm) Set(time.Duration) {}

// Close does nothing.
func (*Alarm) Close() error { return nil }
