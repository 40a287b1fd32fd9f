package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"vpcprobe/probes"
)

// scalar reads text strictly as a value of the field's type: nothing is
// coerced. folder is where relative files are.
func (d *decoder) scalar(text string, f field, folder string) (reflect.Value, error) {
	v := reflect.New(f.Type).Elem()
	switch {
	case isDuration(f.Type):
		t, err := duration(text, f)
		v.SetInt(int64(t))
		return v, err
	case f.Type == reflect.TypeFor[netip.Addr]():
		a, err := address(text)
		v.Set(reflect.ValueOf(a))
		return v, err
	case f.Type.Kind() == reflect.Bool:
		b, err := boolean(text)
		v.SetBool(b)
		return v, err
	case v.CanInt():
		n, err := number(text, f)
		v.SetInt(int64(n))
		return v, err
	case v.CanUint():
		n, err := number(text, f)
		v.SetUint(uint64(n))
		return v, err
	}
	s, err := d.text(text, f, folder)
	v.SetString(s)
	return v, err
}

// text reads a string as the field's tags ask.
func (d *decoder) text(s string, f field, folder string) (string, error) {
	switch {
	case f.Enum != nil && !slices.Contains(f.Enum, s):
		return "", fmt.Errorf("%s is not one of %s%s", quote(s), strings.Join(f.Enum, ", "), Suggest(s, f.Enum))
	case f.Pattern != "" && !d.pattern(f.Pattern).MatchString(s):
		return "", mismatch(s, f)
	case f.Required && s == "":
		return "", errors.New("must not be empty")
	}
	switch f.Format {
	case "host":
		return hostName(s)
	case "file":
		return absolute(s, folder)
	case "url":
		return webPage(s)
	case "collector":
		return s, collector(s)
	case "regexp":
		return s, compiles(s)
	case "resolver":
		return resolver(s)
	case "listen":
		return s, listenable(s)
	case "health":
		return s, healthListenable(s)
	case "finding":
		return s, d.knownFinding(s)
	case "kind":
		return s, d.knownKind(s)
	}
	return s, nil
}

func mismatch(s string, f field) error {
	if f.Format == "variable" { // what was written may be the secret itself
		return errors.New("is not the name of an environment variable: a secret is never written here")
	}
	err := fmt.Errorf("%s does not match %s", quote(s), f.Pattern)
	if f.Example != "" {
		err = fmt.Errorf("%w (an example: %s)", err, f.Example)
	}
	return err
}

func boolean(s string) (bool, error) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	switch strings.ToLower(s) {
	case "true", "yes", "on", "y", "t", "1":
		return false, fmt.Errorf("%s is not true or false (try true)", quote(s))
	case "false", "no", "off", "n", "f", "0":
		return false, fmt.Errorf("%s is not true or false (try false)", quote(s))
	}
	return false, fmt.Errorf("%s is not true or false", quote(s))
}

// number reads a decimal number, which may be neither octal (0443) nor hexadecimal.
func number(s string, f field) (int, error) {
	lowest, highest := bounds(f)
	n, err := strconv.Atoi(s)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%s is not between %d and %d", quote(s), lowest, highest)
	case err != nil:
		return 0, fmt.Errorf("%s is not a whole number%s", quote(s), tryNumber(s))
	case strconv.Itoa(n) != s:
		return 0, fmt.Errorf("%s is not a plain decimal number (try %d)", quote(s), n)
	case n < lowest || n > highest:
		return 0, fmt.Errorf("%s is not between %d and %d", quote(s), lowest, highest)
	}
	return n, nil
}

func tryNumber(s string) string {
	if n, err := strconv.ParseInt(s, 0, 32); err == nil {
		return fmt.Sprintf(" (try %d)", n)
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil && n == float64(int32(n)) {
		return fmt.Sprintf(" (try %d)", int32(n))
	}
	return ""
}

// bounds are the lowest and the highest number that the field takes.
func bounds(f field) (lowest, highest int) {
	highest = 1<<31 - 1
	if f.Type.Kind() == reflect.Uint16 {
		highest = 1<<16 - 1
	}
	if f.Max != "" {
		highest = atoi(f.Max)
	}
	return atoi(f.Min), highest
}

// durations is the form of a duration; the JSON Schema has it too.
const durations = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`

var (
	durationForm = regexp.MustCompile(durations)
	bareNumber   = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)
	otherUnit    = regexp.MustCompile(`^([0-9]+)\s*([A-Za-z]+)$`)
)

// maxDuration bounds durations, as those that add up must not overflow.
const maxDuration = 365 * 24 * time.Hour

func duration(s string, f field) (time.Duration, error) {
	if bareNumber.MatchString(s) {
		return 0, fmt.Errorf("%s has no unit (try %q)", quote(s), s+"s")
	}
	if !durationForm.MatchString(s) {
		return 0, fmt.Errorf("%s is not a duration (try %q)", quote(s), tryDuration(s))
	}
	t, err := time.ParseDuration(s)
	if err != nil || t > maxDuration {
		return 0, fmt.Errorf("%s is above the maximum of %vh", quote(s), maxDuration.Hours())
	}
	if lowest, err := time.ParseDuration(f.Min); err == nil && t < lowest {
		return 0, fmt.Errorf("%s is below the minimum of %v", quote(s), lowest)
	}
	return t, nil
}

// tryDuration guesses what was meant by a duration in other words, such as 1d
// or "5 min".
func tryDuration(s string) string {
	m := otherUnit.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return "1m30s"
	}
	n, err := strconv.ParseInt(m[1], 10, 16)
	if err != nil {
		return "1m30s"
	}
	switch strings.ToLower(m[2]) {
	case "d", "day", "days":
		return fmt.Sprintf("%dh", 24*n)
	case "w", "week", "weeks":
		return fmt.Sprintf("%dh", 7*24*n)
	case "h", "hr", "hrs", "hour", "hours":
		return fmt.Sprintf("%dh", n)
	case "m", "min", "mins", "minute", "minutes":
		return fmt.Sprintf("%dm", n)
	case "s", "sec", "secs", "second", "seconds":
		return fmt.Sprintf("%ds", n)
	case "ms", "msec", "millis", "milliseconds":
		return fmt.Sprintf("%dms", n)
	}
	return "1m30s"
}

func address(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%s is not an IP address (an example: 10.0.1.17)", quote(s))
	case a.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%s has a zone, which an endpoint's address never has", quote(s))
	}
	return a.Unmap(), nil
}

// resolver reads "system", or the address of a resolver, on port 53 unless it
// has one.
func resolver(s string) (string, error) {
	if s == "system" {
		return s, nil
	}
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(a, 53).String(), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Port() == 0 {
		return "", fmt.Errorf(`%s is neither system nor an address with a port (an example: "10.0.0.2:53")`, quote(s))
	}
	return a.String(), nil
}

func listenable(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%s is not an address with a port (an example: 127.0.0.1:9643)", quote(s))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("%s has no port between 0 and 65535", quote(s))
	}
	return nil
}

// healthListenable accepts off and loopback addresses: what is served there has
// neither TLS nor a password.
func healthListenable(s string) error {
	if s == "off" {
		return nil
	}
	if err := listenable(s); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(s)
	if addr, err := netip.ParseAddr(host); err != nil || !addr.IsLoopback() {
		return fmt.Errorf("%s is not a loopback address: use 127.0.0.1 or [::1], or off", quote(s))
	}
	return nil
}

// absolute makes a file's path absolute: relative ones are relative to folder.
func absolute(s, folder string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("must not be empty")
	case strings.ContainsRune(s, 0):
		return "", errors.New("is not the path of a file")
	case filepath.IsAbs(s):
		return filepath.Clean(s), nil
	}
	return filepath.Join(folder, s), nil
}

func compiles(s string) error {
	if _, err := regexp.Compile(s); err != nil {
		return fmt.Errorf("not a regular expression: %s", clip(strings.TrimPrefix(err.Error(), "error parsing regexp: ")))
	}
	return nil
}

// urls is the form of an URL; the JSON Schema has it too.
const urls = `^https://[^/?#@]+([/?][^#]*)?$`

// webPage reads the URL of a page that can be asked for without a secret.
func webPage(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" && u.Scheme != "http":
		return "", errors.New("is not the URL of a page (an example: https://checkip.amazonaws.com/)")
	case u.User != nil:
		return "", errors.New("holds a user name or password: the page is to be one that anybody may see, so write the URL without")
	case u.Scheme != "https":
		return "", fmt.Errorf("%s is not https: what answers in the clear proves nothing (try a URL that begins with https://)", quote(s))
	case strings.Contains(s, "#"):
		return "", fmt.Errorf("%s has a fragment, which is never sent: write the URL without what begins with #", quote(s))
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 127 || r == '\\' }):
		return "", fmt.Errorf("%s holds a character that does not belong in a URL: write it percent-encoded", quote(s))
	}
	return s, webHost(u)
}

// collectors is the form of a collector's URL; the JSON Schema has it too.
const collectors = `^https?://[^/?#@ ]+([/?][^ ]*)?$`

// collector accepts the URL of a collector. It quotes nothing: a password may be in
// whatever it does not accept.
func collector(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Contains(s, " "):
		return errors.New("is not the URL of a collector (an example: http://127.0.0.1:4318)")
	case u.User != nil:
		return errors.New("holds a user name or password: send it as a header instead, by OTEL_EXPORTER_OTLP_HEADERS")
	}
	return nil
}

// webHost asks for a host that a certificate can be for, and a port if any.
func webHost(u *url.URL) error {
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return fmt.Errorf("%s is an address: name the host, as its certificate does", quote(host))
	}
	if _, err := hostName(host); err != nil {
		return err
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); strings.HasSuffix(u.Host, ":") || u.Port() != "" && (err != nil || n == 0) {
		return fmt.Errorf("%s has no port between 1 and 65535", quote(u.Host))
	}
	return nil
}

var hostLabel = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)

// hostName reads a DNS name (RFC 1123, and underscores) in lower case.
func hostName(s string) (string, error) {
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return "", fmt.Errorf("%s is an address, not a host name: addresses go in endpoint.addresses", quote(s))
	}
	if strings.Contains(s, "://") || strings.Contains(s, "/") {
		return "", fmt.Errorf("%s is not a host name: write it without scheme and path", quote(s))
	}
	name := strings.ToLower(s)
	if len(name) > 253 {
		return "", fmt.Errorf("%s is longer than a host name can be (253)", quote(s))
	}
	for label := range strings.SplitSeq(name, ".") {
		if !hostLabel.MatchString(label) {
			return "", fmt.Errorf("%s is not a host name%s", quote(s), labelHint(s))
		}
	}
	return name, nil
}

func labelHint(s string) string {
	switch {
	case strings.HasSuffix(s, "."):
		return ": write it without the dot at its end"
	case strings.Contains(s, "*"):
		return ": write a name that callers use, not a wildcard"
	case strings.Contains(s, ":"):
		return ": a port goes in port"
	case strings.ContainsFunc(s, func(r rune) bool { return r > 127 }):
		return ": write an international name in its xn-- form"
	}
	return ""
}

func (d *decoder) knownFinding(s string) error {
	if d.findings == nil || slices.Contains(d.findings, s) {
		return nil
	}
	return fmt.Errorf("%s is not a finding%s: vpcprobe explain lists them", quote(s), Suggest(s, d.findings))
}

func (d *decoder) knownKind(s string) error {
	if d.kinds == nil || slices.Contains(d.kinds, s) {
		return nil
	}
	return fmt.Errorf("%s is not a kind of probe%s: one of %s", quote(s), Suggest(s, d.kinds), strings.Join(d.kinds, ", "))
}

// quote shows a piece of the file in a message: short, on one line, and
// without what looks like a secret.
func quote(s string) string { return strconv.Quote(clip(s)) }

func clip(s string) string { return probes.Scrub(s, 80) }
