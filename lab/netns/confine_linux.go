package netns

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// nobody is the user without any rights.
const nobody = 65534

// Confined runs a child of this program (see [Enter]) inside the namespace as a
// locked-down container would: as uid 65534, without capabilities, with
// no_new_privs, and with a read-only file system. It returns what the child
// wrote to its standard output.
func (n *Namespace) Confined(child string, args ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	err := n.Do(func() error {
		cmd := copyOf("confine", append([]string{child}, args...)...)
		cmd.Stdout, cmd.Stderr = &out, &errs
		return cmd.Run()
	})
	if err != nil {
		return nil, fmt.Errorf("%s in %s: %w: %s", child, n.Name, err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}

// confine is the child that gives up its rights and becomes another one.
func confine(args []string) error {
	runtime.LockOSThread() // what follows is about this thread, and exec keeps no other
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	if os.Getenv(userKey) != "" {
		return confineUser(args)
	}
	everywhere := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, everywhere); err != nil {
		return fmt.Errorf("read-only file system: %w", err)
	}
	for capability := uintptr(0); capability <= unix.CAP_LAST_CAP; capability++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", capability, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if err := becomeNobody(); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", append([]string{args[0]}, args[1:]...), append(os.Environ(), childKey+"="+args[0]))
}

// becomeNobody changes the user of this thread, which clears its capabilities.
// The other threads, which keep theirs, do not survive the exec that follows.
func becomeNobody() error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return fmt.Errorf("leave all groups: %w", errno)
	}
	for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
		if _, _, errno := unix.RawSyscall(call, nobody, nobody, nobody); errno != 0 {
			return fmt.Errorf("become %d: %w", nobody, errno)
		}
	}
	return nil
}

// confineUser does the same inside a user namespace, where there is no uid
// 65534: the child gets one more user namespace that has it, in which it is
// nobody. Only the root of the file system becomes read-only, since below /proc
// the mapping of users must be written first.
func confineUser(args []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("read-only file system: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	cmd := exec.Command("/proc/self/exe", args[1:]...)
	cmd.Env = append(os.Environ(), childKey+"="+args[0])
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: 0, Size: 1}},
	}
	return cmd.Run()
}
