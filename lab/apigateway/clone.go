package apigateway

import (
	"maps"
	"slices"
)

// Clone returns a copy that shares nothing that can be changed: certificates
// and the clock are shared, as nobody changes them.
func (s *State) Clone() *State {
	c := *s
	c.APIs = cloneEach(s.APIs, (*API).clone)
	c.Domains = cloneEach(s.Domains, (*Domain).clone)
	c.Endpoints = cloneEach(s.Endpoints, flat[Endpoint])
	c.Principals = cloneEach(s.Principals, (*Principal).clone)
	c.Keys = cloneEach(s.Keys, flat[Key])
	c.Plans = slices.Clone(s.Plans)
	for i, p := range c.Plans {
		c.Plans[i] = p.clone()
	}
	if s.ResourceControl != nil {
		c.ResourceControl = flat(s.ResourceControl)
	}
	return &c
}

// cloneEach copies a map, and each of its values with the given function.
func cloneEach[K comparable, V any](m map[K]V, clone func(V) V) map[K]V {
	c := maps.Clone(m)
	for k, v := range c {
		c[k] = clone(v)
	}
	return c
}

// flat copies what holds nothing but values.
func flat[T any](p *T) *T {
	c := *p
	return &c
}

func (a *API) clone() *API {
	c := *a
	c.Endpoints = slices.Clone(a.Endpoints)
	c.Definition = a.Definition.clone()
	c.Stages = cloneEach(a.Stages, (*Stage).clone)
	return &c
}

func (d Definition) clone() Definition {
	d.Resources = cloneEach(d.Resources, func(methods map[string]*Method) map[string]*Method {
		return cloneEach(methods, (*Method).clone)
	})
	d.Responses = cloneEach(d.Responses, GatewayResponse.clone)
	return d
}

func (s *Stage) clone() *Stage {
	c := *s
	c.Definition = s.Definition.clone()
	if s.WAF != nil {
		c.WAF = s.WAF.clone()
	}
	return &c
}

func (m *Method) clone() *Method {
	c := *m
	c.RequiredParams = slices.Clone(m.RequiredParams)
	c.ContentTypes = slices.Clone(m.ContentTypes)
	c.Integration.Header = m.Integration.Header.Clone()
	return &c
}

func (r GatewayResponse) clone() GatewayResponse {
	r.Header = r.Header.Clone()
	return r
}

func (d *Domain) clone() *Domain {
	c := *d
	c.Rules = slices.Clone(d.Rules)
	c.Mappings = slices.Clone(d.Mappings)
	c.Truststore = slices.Clone(d.Truststore)
	c.Associations = slices.Clone(d.Associations)
	return &c
}

func (p *Principal) clone() *Principal {
	c := *p
	c.Guardrails = slices.Clone(p.Guardrails)
	return &c
}

func (p *Plan) clone() *Plan {
	c := *p
	c.Stages = slices.Clone(p.Stages)
	c.Keys = slices.Clone(p.Keys)
	return &c
}

func (w *WAF) clone() *WAF {
	c := *w
	c.Rules = slices.Clone(w.Rules)
	for i, r := range c.Rules {
		c.Rules[i].Networks = slices.Clone(r.Networks)
		if r.Response != nil {
			response := r.Response.clone()
			c.Rules[i].Response = &response
		}
	}
	return &c
}
