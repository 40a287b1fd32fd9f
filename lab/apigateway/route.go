package apigateway

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// route finds the API: by x-apigw-api-id, which wins over any Host and SNI
// (seen behind a network load balancer), by Host, or by the alias name. The
// header is taken to work through VPC endpoints only.
func (c *call) route() *answer {
	if id := c.r.Header.Get("x-apigw-api-id"); id != "" && c.conn.EndpointID != "" {
		return c.reach(id)
	}
	if id, endpoint, ok := c.defaultName(); ok {
		return c.reachAlias(id, endpoint)
	}
	if d, ok := c.state.Domains[c.host]; ok {
		return c.reachDomain(d)
	}
	return forbidden("F3") // the endpoint's own name without the header, a Host of another suffix or region
}

// defaultName reads {api}.execute-api.{region}.{suffix}, and the alias form
// {api}-{vpce}, in the Host header.
func (c *call) defaultName() (api, endpoint string, ok bool) {
	label, rest, _ := strings.Cut(c.host, ".")
	if rest != "execute-api."+c.state.Region+"."+c.state.suffix() {
		return "", "", false
	}
	if api, id, isAlias := strings.Cut(label, "-vpce-"); isAlias {
		return api, "vpce-" + id, true
	}
	return label, "", true
}

// reachAlias: an alias works only for an associated endpoint. On AWS its name
// would not even resolve; that a request sent there all the same is Forbidden
// is an inference from F3.
func (c *call) reachAlias(id, endpoint string) *answer {
	if a := c.reach(id); a != nil || endpoint == "" {
		return a
	}
	if !slices.Contains(c.api.Endpoints, endpoint) {
		return forbidden("F3")
	}
	return nil
}

func (c *call) reach(id string) *answer {
	api, ok := c.state.APIs[id]
	switch throughEndpoint := c.conn.EndpointID != ""; {
	case !ok:
		return forbidden("F11") // UNVERIFIED: inferred from F3 and F7
	case api.Type == Private && !throughEndpoint:
		return forbidden("F11") // from the internet a private API does not exist: an inference
	case api.Type == Regional && throughEndpoint:
		return forbidden("F8")
	}
	c.apiID, c.api = id, api
	return nil
}

func (c *call) reachDomain(d *Domain) *answer {
	c.domain = d
	switch throughEndpoint := c.conn.EndpointID != ""; {
	case d.Private && !throughEndpoint:
		return forbidden("F9") // UNVERIFIED
	case !d.Private && throughEndpoint:
		return forbidden("F3")
	}
	return nil
}

// strict answers F10. What API Gateway sends then is undocumented; Forbidden
// is an inference. In strict mode SNI and Host must be one and the same name
// of the API, so the endpoint's own name stops working.
func (c *call) strict() *answer {
	if c.domain != nil {
		if c.domain.AccessMode == Strict && !strings.EqualFold(c.conn.ServerName, c.host) {
			return forbidden("F10")
		}
		return nil
	}
	if c.api.AccessMode == Basic {
		return nil
	}
	named, _, ok := c.defaultName()
	if !ok || named != c.apiID || !strings.EqualFold(c.conn.ServerName, c.host) {
		return forbidden("F10")
	}
	return nil
}

// defaultEndpoint answers F4. Whether a disabled default endpoint also refuses
// x-apigw-api-id and the alias is UNVERIFIED; the model refuses them all.
func (c *call) defaultEndpoint() *answer {
	if c.domain == nil && c.api.DefaultEndpointDisabled {
		return forbidden("F4")
	}
	return nil
}

// mapStage finds the stage: the first segment of the path, or the base path
// mapping of a custom domain.
func (c *call) mapStage() *answer {
	raw := sentPath(c.r)
	if c.domain != nil {
		return c.mapBasePath(raw)
	}
	name, rest, _ := strings.Cut(strings.TrimPrefix(raw, "/"), "/")
	if decoded, err := url.PathUnescape(name); err == nil {
		name = decoded
	}
	if _, ok := c.api.Stages[name]; !ok && c.api.HTTP {
		name, rest = "$default", strings.TrimPrefix(raw, "/")
	}
	return c.enter(name, "/"+rest)
}

func (c *call) enter(stage, path string) *answer {
	s, ok := c.api.Stages[stage]
	switch {
	case !ok && c.api.HTTP:
		return notFoundHTTP()
	case !ok:
		return forbidden("F7")
	}
	c.stageName, c.stage, c.path = stage, s, path
	c.findMethod()
	return nil
}

// mapBasePath takes the first routing rule that applies, else the mapping with
// the longest base path that the path is below.
func (c *call) mapBasePath(raw string) *answer {
	for _, r := range c.domain.Rules {
		if c.r.Header.Get(r.Header) == r.Value {
			return c.follow(&Mapping{API: r.API, Stage: r.Stage}, raw)
		}
	}
	var best *Mapping
	for i, m := range c.domain.Mappings {
		under := m.BasePath == "" || strings.HasPrefix(raw+"/", "/"+m.BasePath+"/")
		if under && (best == nil || len(m.BasePath) > len(best.BasePath)) {
			best = &c.domain.Mappings[i]
		}
	}
	if best == nil {
		return forbidden("F6")
	}
	return c.follow(best, raw)
}

// follow goes where a mapping leads.
func (c *call) follow(best *Mapping, raw string) *answer {
	api, ok := c.state.APIs[best.API]
	if !ok {
		return forbidden("F11") // UNVERIFIED
	}
	if c.domain.Private != (api.Type == Private) {
		return modelError(errors.New(c.host + " is mapped to an API that AWS would not let it be mapped to"))
	}
	c.apiID, c.api = best.API, api
	if c.domain.Private {
		c.domainARN = c.arn("/domainnames/" + c.host + "+" + c.domain.ID)
	}
	if best.BasePath != "" {
		raw = strings.TrimPrefix(raw, "/"+best.BasePath)
	}
	return c.enter(best.Stage, "/"+strings.TrimPrefix(raw, "/"))
}

// findMethod looks the path up in the deployed tree: the most specific
// template wins, then the method itself before ANY.
func (c *call) findMethod() {
	var best []int
	for template, methods := range c.stage.Resources {
		fit, ok := fitTemplate(template, c.path)
		if !ok || best != nil && slices.Compare(fit, best) <= 0 {
			continue
		}
		best, c.pathKnown = fit, true
		c.method = cmp.Or(methods[c.r.Method], methods["ANY"])
	}
}

// fitTemplate says how specifically a template describes a path: for each
// segment 2 if it is literal, 1 for a {parameter}, 0 for a greedy {proxy+}.
func fitTemplate(template, path string) ([]int, bool) {
	want := strings.Split(strings.TrimPrefix(template, "/"), "/")
	have := strings.Split(strings.TrimPrefix(path, "/"), "/")
	var fit []int
	for i, w := range want {
		switch {
		case i >= len(have) || have[i] == "" && w != "":
			return nil, false
		case strings.HasSuffix(w, "+}"):
			return append(fit, 0), true
		case strings.HasPrefix(w, "{"):
			fit = append(fit, 1)
		case literal(w, have[i]):
			fit = append(fit, 2)
		default:
			return nil, false
		}
	}
	return fit, len(want) == len(have)
}

// literal compares a template's segment with one as sent.
func literal(want, sent string) bool {
	decoded, err := url.PathUnescape(sent)
	return err == nil && decoded == want
}

// arn returns an execute-api ARN in the API's account.
func (c *call) arn(resource string) string {
	return "arn:" + c.state.partition() + ":execute-api:" + c.state.Region + ":" + c.state.Account + ":" + resource
}

// methodARN is the ARN that is invoked; it exists for absent paths as well.
func (c *call) methodARN() string {
	return c.arn(c.apiID + "/" + c.stageName + "/" + c.r.Method + "/" + strings.TrimPrefix(c.path, "/"))
}

// mask hides all but the last four digits of the account, as denials do.
func (c *call) mask(arn string) string {
	account := c.state.Account
	if len(account) < 4 {
		return arn
	}
	return strings.Replace(arn, ":"+account+":", ":********"+account[len(account)-4:]+":", 1)
}

// notFoundHTTP is an HTTP API's 404.
func notFoundHTTP() *answer {
	return &answer{row: "404", status: http.StatusNotFound, message: "Not Found"}
}
