package connect

import (
	"net"
	"net/netip"
	"testing"

	"vpcprobe/probes"
)

func TestTheKernelKnowsTheRoundTrip(t *testing.T) {
	t.Parallel()
	conn, o := Dial(t.Context(), world{a1: open}.network(t), probes.Lane{Addr: netip.AddrPortFrom(a1, 443)})
	if o.Outcome != probes.OK {
		t.Fatal(o.Err)
	}
	defer conn.Close()
	d := Of(o)
	if !d.Kernel || d.RTT <= 0 || d.RTT != o.Took() || d.MSS <= 0 || d.PMTU <= 0 || d.Retried != 0 {
		t.Errorf("detail %+v", d)
	}
	if d.Local != conn.LocalAddr().(*net.TCPAddr).AddrPort() {
		t.Errorf("local address %v, want %v", d.Local, conn.LocalAddr())
	}
	if delay, ok := values(o)[probes.Delay.Name]; !ok || delay < 0 {
		t.Errorf("values %v, want a delay", values(o))
	}
}
