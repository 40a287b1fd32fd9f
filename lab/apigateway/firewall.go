package apigateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// firewall is AWS WAF: evaluated before resource policies, IAM and authorizers
// (Developer Guide, apigateway-control-access-aws-waf).
func (c *call) firewall() *answer {
	waf := c.stage.WAF
	if waf == nil {
		return nil
	}
	if waf.Broken {
		return internalError(http.StatusInternalServerError, Default5XX,
			"There was an error evaluating the AWS WAF rules associated with this API")
	}
	i := slices.IndexFunc(waf.Rules, c.meets)
	if i < 0 {
		return nil
	}
	return waf.Rules[i].answer()
}

func (c *call) meets(r WAFRule) bool {
	return (len(r.Networks) == 0 || c.from(r.Networks)) &&
		(r.Contains == "" || c.contains(r.Contains)) &&
		strings.HasPrefix(sentPath(c.r), r.Path)
}

func (c *call) from(networks []string) bool {
	addr, err := netip.ParseAddr(c.conn.SourceIP)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(networks, func(s string) bool {
		network, err := parseNetwork(s)
		return err == nil && network.Contains(addr.Unmap())
	})
}

func (c *call) contains(text string) bool {
	if strings.Contains(c.r.URL.RequestURI(), text) {
		return true
	}
	for _, values := range c.r.Header {
		if slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, text) }) {
			return true
		}
	}
	return false
}

// answer gives F2, or the 202 and 405 of section 1.3.
func (r WAFRule) answer() *answer {
	switch {
	case r.Action == Challenge:
		return &answer{
			row: "202", status: http.StatusAccepted, bare: true,
			header: http.Header{"x-amzn-waf-action": {"challenge"}},
		}
	case r.Action == Captcha:
		return &answer{
			row: "405", status: http.StatusMethodNotAllowed, bare: true,
			header: http.Header{"x-amzn-waf-action": {"captcha"}},
		}
	case r.Action == Pass:
		return nil
	case r.Response != nil: // any status and body; that it has no error type is an inference
		return &answer{
			row: "F2", status: r.Response.Status, body: r.Response.Body, header: r.Response.Header.Clone(),
		}
	}
	a := forbidden("F2")
	a.response = WAFFiltered
	return a
}
