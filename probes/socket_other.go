//go:build !linux

package probes

import (
	"errors"
	"net"
	"net/netip"
)

// A handle makes no system calls here.
type handle struct{}

func (handle) open(net.Conn)  {}
func (handle) ok() bool       { return false }
func (handle) hangUp() bool   { return false }
func (handle) finish() bool   { return false }
func (handle) finished() bool { return false }

func (handle) receive(buf, control []byte) (n, said int, err error) {
	return 0, 0, errors.ErrUnsupported
}
func (handle) poll([]byte) (n int, some bool, err error) { return 0, false, errors.ErrUnsupported }
func (handle) send([]byte) (int, error)                  { return 0, errors.ErrUnsupported }
func (handle) redial(netip.AddrPort) (netip.AddrPort, error) {
	return netip.AddrPort{}, errors.ErrUnsupported
}
