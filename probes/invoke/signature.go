package invoke

import (
	"context"
	"fmt"
	"strings"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/logging"

	"vpcprobe/probes"
)

// differs compares the canonical request that an answer to a bad signature may
// echo with ours, and names the first line that differs. It returns "" where
// nothing is echoed, or nothing differs: then the secret key is wrong.
func (k *call) differs(body []byte) string {
	if k.signedAt.IsZero() {
		return ""
	}
	theirs, ok := echoed(message(body))
	if !ok {
		return ""
	}
	ours := strings.Split(k.canonicalRequest(), "\n")
	for i := range max(len(ours), len(theirs)) {
		o, t := line(ours, i), line(theirs, i)
		if o != t {
			scrub := func(s string) string { return probes.Scrub(s, maxHeader, k.known()...) }
			return fmt.Sprintf("line %d of the canonical request: the gateway saw %q where %q was signed", i+1, scrub(t), scrub(o))
		}
	}
	return ""
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return strings.TrimRight(lines[i], "\r")
	}
	return ""
}

// echoed returns the lines of the canonical request in a message, between
// quotes after these words.
func echoed(message string) ([]string, bool) {
	_, rest, ok := strings.Cut(message, "The Canonical String for this request should have been\n'")
	if !ok {
		return nil, false
	}
	canonical, _, ok := strings.Cut(rest, "'\n")
	if !ok {
		canonical = strings.TrimSuffix(rest, "'")
	}
	return strings.Split(canonical, "\n"), true
}

// canonicalRequest is what was signed, by the signer's own account.
func (k *call) canonicalRequest() string {
	again := k.request.Clone(context.Background())
	again.Header.Del("Authorization")
	var text string
	listen := logging.LoggerFunc(func(_ logging.Classification, format string, v ...any) { text = fmt.Sprintf(format, v...) })
	if k.sign(context.Background(), again, func(o *v4.SignerOptions) { o.LogSigning, o.Logger = true, listen }) != nil {
		return ""
	}
	_, text, _ = strings.Cut(text, "---[ CANONICAL STRING  ]-----------------------------\n")
	text, _, _ = strings.Cut(text, "\n---[ STRING TO SIGN ]")
	return text
}
