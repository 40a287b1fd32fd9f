package netns

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Link is what is between two neighbors. The zero Link is a veth pair: no
// delay, no loss.
type Link struct {
	Delay time.Duration // one way
	Loss  float64       // the share of frames lost, each way, from 0 to 1
}

// plain reports whether the kernel can be the link by itself.
func (l Link) plain() bool { return l == Link{} }

// A wire is the process that carries the frames of all links that are not
// plain. It ends with the descriptor that is its standard input.
type wire struct {
	cmd  *exec.Cmd
	life io.Closer
}

// startWire starts the process. The sockets are those of the links' two ends,
// in pairs.
func startWire(links []Link, sockets []*os.File) (*wire, error) {
	var args []string
	for _, l := range links {
		args = append(args, fmt.Sprintf("%d,%g", l.Delay.Nanoseconds(), l.Loss))
	}
	cmd := copyOf("wire", args...)
	cmd.ExtraFiles = sockets
	life, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	ready, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the wire: %w", err)
	}
	w := &wire{cmd, life}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		w.stop()
		return nil, fmt.Errorf("the wire did not come up: %w", err)
	}
	return w, nil
}

func (w *wire) stop() {
	w.life.Close()
	w.cmd.Wait()
}

// carry is the process: one thread that reads every frame at one end of its
// link, and writes it at the other end when its time has come. It runs before
// everything else on the machine if it may, and collects no garbage, so that
// delays are exact: what it adds is measured at 0.1 to 0.3 ms.
func carry(args []string) error {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	realtime := struct{ priority int32 }{50}
	unix.RawSyscall(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO, uintptr(unsafe.Pointer(&realtime))) // if it may
	lanes, err := parseLanes(args)
	if err != nil {
		return err
	}
	os.Stdout.WriteString("\n")
	polls := make([]unix.PollFd, len(lanes))
	for i, l := range lanes {
		polls[i] = unix.PollFd{Fd: int32(l.from), Events: unix.POLLIN}
	}
	for {
		next := deliver(lanes)
		timeout := unix.NsecToTimespec(max(next.Nanoseconds(), 0))
		if _, err := unix.Ppoll(polls, &timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll: %w", err)
		}
		for _, l := range lanes {
			l.take()
		}
	}
}

// A lane is one direction of a link: frames that were read at one end and wait
// for their time at the other.
type lane struct {
	from, to int
	Link
	frames [capacity]frame // a ring
	head   int
	length int
}

type frame struct {
	due  time.Time
	size int
	data [2048]byte
}

const capacity = 1024 // frames under way in one direction; more are lost

// parseLanes reads the arguments of the wire: delay in nanoseconds and loss for
// each link, whose ends are the descriptors from 3 on.
func parseLanes(args []string) ([]*lane, error) {
	var lanes []*lane
	for i, arg := range args {
		delay, loss, _ := strings.Cut(arg, ",")
		ns, err := strconv.ParseInt(delay, 10, 64)
		if err != nil {
			return nil, err
		}
		share, err := strconv.ParseFloat(loss, 64)
		if err != nil {
			return nil, err
		}
		link := Link{time.Duration(ns), share}
		a, b := 3+2*i, 4+2*i
		for _, fd := range []int{a, b} { // package os made them block
			if err := unix.SetNonblock(fd, true); err != nil {
				return nil, err
			}
		}
		lanes = append(lanes, &lane{from: a, to: b, Link: link}, &lane{from: b, to: a, Link: link})
	}
	return lanes, nil
}

// take reads what has arrived.
func (l *lane) take() {
	var lost [2048]byte
	for {
		into := lost[:]
		f := &l.frames[(l.head+l.length)%capacity]
		full := l.length == capacity
		if !full {
			into = f.data[:]
		}
		n, err := unix.Read(l.from, into)
		if err != nil || n <= 0 {
			return
		}
		if full || l.Loss > 0 && rand.Float64() < l.Loss {
			continue
		}
		f.due, f.size = time.Now().Add(l.Delay), n
		l.length++
	}
}

// deliver writes the frames whose time has come, and says how long it is until
// that of the next one.
func deliver(lanes []*lane) time.Duration {
	next := time.Second
	for _, l := range lanes {
		for l.length > 0 {
			f := &l.frames[l.head]
			if left := time.Until(f.due); left > 0 {
				next = min(next, left)
				break
			}
			unix.Write(l.to, f.data[:f.size]) // a frame that cannot be written is lost
			l.head = (l.head + 1) % capacity
			l.length--
		}
	}
	return next
}

// packetSocket opens a socket that reads and writes all frames of a device,
// those that it wrote itself excepted.
func packetSocket(device int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	const ignoreOutgoing = 23 // PACKET_IGNORE_OUTGOING, since Linux 4.20
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, ignoreOutgoing, 1); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	all := uint16(unix.ETH_P_ALL)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: device}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	return os.NewFile(uintptr(fd), "packet"), nil
}

// bare makes a device send frames as they are on a cable: with their checksums
// computed and no larger than its MTU, instead of leaving both to hardware that
// a veth pair does not have.
func bare(device string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const txChecksum, tso, gso = 0x17, 0x1f, 0x24 // ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO
	for _, command := range []uint32{txChecksum, tso, gso} {
		value := struct{ command, data uint32 }{command, 0}
		request := struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}{data: unsafe.Pointer(&value)}
		copy(request.name[:], device)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return fmt.Errorf("%s: switch offloads off: %w", device, errno)
		}
	}
	return nil
}
