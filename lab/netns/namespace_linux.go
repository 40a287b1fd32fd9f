package netns

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A Namespace is a network namespace: a host or a router of its own.
type Namespace struct {
	Name string
	file *os.File // holds it open
}

// newNamespace creates a namespace with its loopback device up.
func newNamespace(name string) (*Namespace, error) {
	n := &Namespace{Name: name}
	err := elsewhere(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() (err error) {
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create network namespace %s: %w", name, err)
	}
	return n, n.IP("link set lo up")
}

// Do calls f on a thread that is inside the namespace. Sockets that f opens and
// processes that it starts belong to the namespace and stay there; goroutines
// that it starts do not.
func (n *Namespace) Do(f func() error) error {
	return elsewhere(func() error { return unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET) }, f)
}

// elsewhere calls f on a thread that move has taken into another network
// namespace, and brings the thread back.
func elsewhere(move, f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	if err := move(); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return back // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// Run runs a command inside the namespace and returns its standard output.
func (n *Namespace) Run(input string, extra []*os.File, name string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	err := n.Do(func() error {
		cmd := exec.Command(name, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = strings.NewReader(input), &out, &errs, extra
		return cmd.Run()
	})
	if err != nil {
		return out.String(), fmt.Errorf("%s: %s %s: %w: %s", n.Name, name, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// IP runs lines of ip(8).
func (n *Namespace) IP(lines ...string) error { return n.ip(nil, lines...) }

func (n *Namespace) ip(extra []*os.File, lines ...string) error {
	if len(lines) == 0 {
		return nil
	}
	_, err := n.Run(strings.Join(lines, "\n")+"\n", extra, "ip", "-batch", "-")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, strings.Join(lines, "\n"))
	}
	return nil
}

// NFT loads lines of an nft(8) rule set, after what was loaded before.
func (n *Namespace) NFT(rules string) error {
	_, err := n.Run(rules, nil, "nft", "-f", "-")
	return err
}

// Set sets a sysctl below net, such as ipv4/ip_forward. One that this kernel
// does not have is left out.
func (n *Namespace) Set(path, value string) error {
	return n.Do(func() error {
		err := os.WriteFile(filepath.Join("/proc/sys/net", path), []byte(value), 0)
		if os.IsNotExist(err) {
			return nil
		}
		return err
	})
}

// Sockets counts the namespace's TCP sockets by their state, in the numbers of
// the kernel (1 established, 3 SYN received, 6 TIME_WAIT, 10 listening, ...).
func (n *Namespace) Sockets() (map[uint8]int, error) {
	states := map[uint8]int{}
	err := n.Do(func() error {
		for _, file := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
			table, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			for _, line := range strings.Split(string(table), "\n")[1:] {
				var slot, local, remote string
				var state uint8
				if _, err := fmt.Sscanf(line, "%s %s %s %x", &slot, &local, &remote, &state); err == nil {
					states[state]++
				}
			}
		}
		return nil
	})
	return states, err
}

// close lets the kernel remove the namespace and everything in it.
func (n *Namespace) close() { n.file.Close() }
