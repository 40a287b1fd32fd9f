package probes

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// An Outcome says, in one word, how an operation ended. Every observation has
// exactly one. Outcomes are label values: the set is closed, and the same
// words stand in metrics, JSON, reports and documents.
type Outcome string

// The outcomes of any network operation.
const (
	OK          Outcome = "ok"
	Timeout     Outcome = "timeout"     // nothing came back in time
	Refused     Outcome = "refused"     // the peer, or something before it, answered the SYN with a reset
	Reset       Outcome = "reset"       // an established connection was cut
	Closed      Outcome = "closed"      // the peer hung up in good order, but too early
	Unreachable Outcome = "unreachable" // no route, or a router could not deliver
	Prohibited  Outcome = "prohibited"  // a router or local policy said that it must not pass
)

// The outcomes of a lookup.
const (
	NoSuchName   Outcome = "no_such_name"  // NXDOMAIN
	NoAddress    Outcome = "no_address"    // the name exists, without an address of a family that was asked for
	ServerFailed Outcome = "server_failed" // SERVFAIL, REFUSED and the like
	BadReply     Outcome = "bad_reply"     // an answer that is not one to the question, or no DNS at all
	Elsewhere    Outcome = "elsewhere"     // resolved, but not (only) to the endpoint
)

// The outcomes of a handshake.
const (
	Untrusted Outcome = "untrusted"  // no trusted authority vouches for the server's certificate
	WrongName Outcome = "wrong_name" // the server's certificate is for another name
	Expired   Outcome = "expired"    // a certificate of the server's chain has expired or is not yet valid
	Rejected  Outcome = "rejected"   // the server sent an alert, or cut the connection after judging us
	NotTLS    Outcome = "not_tls"    // the peer does not speak TLS
)

// The outcomes of judging files.
const (
	Invalid    Outcome = "invalid"    // read, and would be refused
	Unreadable Outcome = "unreadable" // cannot be read or parsed
)

// The outcomes of a request.
const (
	Denied      Outcome = "denied"       // 401 or 403
	NotFound    Outcome = "not_found"    // 404
	Throttled   Outcome = "throttled"    // 429
	ClientError Outcome = "client_error" // any other 4xx
	ServerError Outcome = "server_error" // any 5xx
	Unexpected  Outcome = "unexpected"   // not what expect asks for
	NotHTTP     Outcome = "not_http"     // the answer is not HTTP, or breaks its bounds
)

// The outcomes of a path trace, beside those of any network operation.
const (
	Loop Outcome = "loop" // packets circle between routers
)

// The outcomes that are never blamed on the target.
const (
	Skipped Outcome = "skipped" // a lower layer gave nothing to work on
	Aborted Outcome = "aborted" // the agent was shutting down
	Fault   Outcome = "fault"   // the agent's own trouble: no file descriptors, no credentials, held up, a panic
)

// Outcomes lists them all with their meanings, for documents and tests.
var Outcomes = []struct {
	Outcome
	Means string
}{
	{OK, "it went well"},
	{Timeout, "nothing came back in time"},
	{Refused, "the connection was answered with a reset"},
	{Reset, "an established connection was cut"},
	{Closed, "the peer hung up in good order, but too early"},
	{Unreachable, "no route, or a router could not deliver"},
	{Prohibited, "a router or a local policy forbids it"},
	{NoSuchName, "the resolver says that the name does not exist (NXDOMAIN)"},
	{NoAddress, "the name exists, but the answer has no address"},
	{ServerFailed, "the resolver answered with an error (SERVFAIL, REFUSED, ...)"},
	{BadReply, "the answer does not belong to the question, or is not DNS"},
	{Elsewhere, "the name resolves, but not (only) to the endpoint's addresses"},
	{Untrusted, "no trusted authority vouches for the server's certificate"},
	{WrongName, "the server's certificate is for another name"},
	{Expired, "a certificate of the server's chain has expired or is not yet valid"},
	{Rejected, "the server refused the handshake or the client certificate"},
	{NotTLS, "the peer does not speak TLS"},
	{Invalid, "the files were read and would be refused"},
	{Unreadable, "the files cannot be read or parsed"},
	{Denied, "the answer is 401 or 403"},
	{NotFound, "the answer is 404"},
	{Throttled, "the answer is 429"},
	{ClientError, "the answer is another 4xx"},
	{ServerError, "the answer is a 5xx"},
	{Unexpected, "the answer is not what expect asks for"},
	{NotHTTP, "the answer is not HTTP, or breaks its bounds"},
	{Loop, "packets circle between routers"},
	{Skipped, "a lower layer gave nothing to work on"},
	{Aborted, "the agent was shutting down"},
	{Fault, "the agent's own trouble: no file descriptors, no credentials, held up, a panic"},
}

// Blames reports whether the outcome says something bad about the target, as
// opposed to nothing at all.
func (o Outcome) Blames() bool {
	switch o {
	case OK, Skipped, Aborted, Fault:
		return false
	}
	return true
}

// Classify names the outcome of a network operation that returned err. What it
// does not know is a fault of ours, never the target's. It looks at types and
// error numbers, never at text.
func Classify(err error) Outcome {
	for _, c := range classes {
		if c.match(err) {
			return c.outcome
		}
	}
	return Fault
}

// classes is read in order: the first match wins.
var classes = []struct {
	outcome Outcome
	match   func(error) bool
}{
	{OK, func(err error) bool { return err == nil }},
	{Aborted, is(context.Canceled)},
	{Refused, is(syscall.ECONNREFUSED)},
	{Reset, is(syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED)},
	{Unreachable, is(syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN)},
	{Prohibited, is(syscall.EACCES, syscall.EPERM)},
	{Timeout, is(context.DeadlineExceeded, os.ErrDeadlineExceeded, syscall.ETIMEDOUT)},
	{Timeout, isTimeout},
	{Closed, is(io.EOF, io.ErrUnexpectedEOF, net.ErrClosed)},
}

func is(targets ...error) func(error) bool {
	return func(err error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
}

// Exhausted reports whether err says that this process, or the machine, is out
// of file descriptors or memory: then a file that cannot be opened may be a good
// one.
func Exhausted(err error) bool { return is(syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM)(err) }

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}
