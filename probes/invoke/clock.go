package invoke

import (
	"net/http"
	"time"
)

// window is how far a signature's time may be from the server's (IAM User
// Guide, reference_sigv).
const window = 5 * time.Minute

// skew is the server's clock minus ours in seconds, as far as a Date header of
// whole seconds tells: half a second is added for what it cuts off, and the
// answer is taken to have been made halfway between request and first byte.
func skew(r *reply) *float64 {
	date, err := http.ParseTime(r.header.Get("Date"))
	if err != nil || r.sent.IsZero() {
		return nil
	}
	made := r.sent.Add(r.first.Sub(r.sent) / 2)
	s := date.Add(500 * time.Millisecond).Sub(made).Round(time.Millisecond).Seconds()
	return &s
}
