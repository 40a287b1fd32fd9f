package trace

import (
	"os"

	"golang.org/x/sys/unix"
)

// stamping keeps the kernel's receive timestamps switched on. The kernel
// switches them on for all packets when the first socket asks for them, and not
// at once: what arrives in the meantime is stamped only when it is read. One
// socket held open for as long as there is anything to trace avoids that.
type stamping struct{ file *os.File }

// keepStamping opens that socket. It is closed when nothing refers to it any
// more; where it cannot be opened, some round trips are measured with our own
// clock, and say so.
func keepStamping() *stamping {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return &stamping{}
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	return &stamping{os.NewFile(uintptr(fd), "timestamps")}
}

// release ends it.
func (s *stamping) release() {
	if s.file != nil {
		s.file.Close()
	}
}
