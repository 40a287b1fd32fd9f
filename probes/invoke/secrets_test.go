package invoke

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"

	"vpcprobe/probes"
)

// echoes are answers that hold what was sent.
func echoes() map[string]func(net.Conn) {
	echo := func(answer func(request string) string) func(net.Conn) {
		return func(c net.Conn) { io.WriteString(c, answer(sentOn(c))) }
	}
	return map[string]func(net.Conn){
		"a body":          echo(func(r string) string { return gatewayAnswer("403 Forbidden", "", r) }),
		"a body in JSON":  echo(func(r string) string { return gatewayAnswer("403 Forbidden", "", `{"request":`+quote(r)+`}`) }),
		"a body in a URL": echo(func(r string) string { return gatewayAnswer("403 Forbidden", "", url.QueryEscape(r)) }),
		"a long body":     echo(func(r string) string { return gatewayAnswer("403 Forbidden", "", strings.Repeat(r, 500)) }),
		"a message": echo(func(r string) string {
			return gatewayAnswer("403 Forbidden", "AccessDeniedException", `{"message":`+quote(r)+`}`)
		}),
		"a bad signature": echo(func(r string) string {
			canonical := "The request signature we calculated does not match the signature you provided. Check.\n\nThe Canonical String for this request should have been\n'" + r + "'\n"
			return gatewayAnswer("403 Forbidden", "InvalidSignatureException", `{"message":`+quote(canonical)+`}`)
		}),
		"headers": echo(func(r string) string {
			one := strings.NewReplacer("\r", " ", "\n", " ").Replace(r)
			return "HTTP/1.1 403 Forbidden\r\nServer: " + one + "\r\nx-amzn-errortype: " + one + "\r\nx-amzn-requestid: " + one + "\r\nx-amz-apigw-id: " + one +
				"\r\nx-amzn-waf-action: " + one + "\r\nContent-Length: 0\r\n\r\n"
		}),
		"the status line": echo(func(r string) string { return "HTTP/1.1 " + strings.ReplaceAll(r, "\r\n", " ") + "\r\n\r\n" }),
		"no status line":  echo(func(r string) string { return strings.ReplaceAll(r, "\r\n", " ") + "\r\n\r\n" }),
	}
}

// sentOn returns the request that came on a connection of a world.
func sentOn(c net.Conn) string { return c.(*recorded).request }

func quote(s string) string { b, _ := json.Marshal(s); return string(b) }

// everythingOf is all that people or machines are shown of an observation.
func everythingOf(seen probes.Evidence, o probes.Observation) string {
	b, err := json.Marshal(o.Detail)
	text := fmt.Sprintf("%s %v %v %v %+v %v", b, err, o.Err, o.Detail, o.Values, o.Outcome)
	for _, v := range o.Values {
		text += fmt.Sprint(v.Labels)
	}
	for _, f := range probes.Diagnose(Rules, seen) {
		text += fmt.Sprintf("\n%s %q", f.Rule.ID, f.Notes)
	}
	return text
}
