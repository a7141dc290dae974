package document

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/spec"
)

// Client is the host's side of the scheduler's /berth/v1/hosts.
type Client struct {
	o    Options
	base string
	http *http.Client

	document watch.Value[*spec.HostDocument]
	report   watch.Value[*spec.HostReport]
	// contact is when the newest request was sent that was answered, applied the version that is in force.
	contact watch.Value[time.Time]
	applied watch.Value[uint64]
	trouble watch.Value[string] // why the last one was not answered
	// returned changes each time the scheduler answers after it did not.
	returned watch.Value[int]
	ask      watch.Value[spec.HostAsk]
}

// New makes a client that knows the document kept on disk, if any. A kept document that cannot be read is said in the log
// and left alone: the scheduler's next answer replaces it.
func New(o Options) (*Client, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	base, socket, err := endpoint(o.API)
	if err != nil {
		return nil, err
	}
	if o.Transport == nil {
		o.Transport = transport(socket)
	}
	c := &Client{o: o, base: base + "/berth/v1/hosts/" + url.PathEscape(o.Host), http: &http.Client{Transport: o.Transport}}
	kept, err := load(o.File, o.Host)
	if err != nil {
		o.Log.WithError(err).Warn("the kept host document is unusable; waiting for the scheduler's")
	}
	if kept != nil {
		c.document.Set(kept)
	}
	return c, nil
}

// Document is the newest document; nil until there is one. Documents are never changed.
func (c *Client) Document() *watch.Value[*spec.HostDocument] { return &c.document }

// Ask is what the scheduler asked last.
func (c *Client) Ask() *watch.Value[spec.HostAsk] { return &c.ask }

// Contact is when the newest of the polls was sent that the scheduler has answered; zero: none has been. The document is set before it.
func (c *Client) Contact() *watch.Value[time.Time] { return &c.contact }

// Applied says that the document of the version is in force. With Options.Net the scheduler is told at once.
func (c *Client) Applied(version uint64) {
	if old, _ := c.applied.Get(); old != version {
		c.applied.Set(version)
	}
}

// Trouble is why the last poll was not answered; "": it was.
func (c *Client) Trouble() string {
	text, _ := c.trouble.Get()
	return text
}

// Report hands over the newest whole report; older ones that are not yet sent are dropped. The maps and slices in it must
// not be changed afterwards.
func (c *Client) Report(r spec.HostReport) { c.report.Set(&r) }

// Run polls and reports until ctx ends. Only one process of a state folder may do so at a time.
func (c *Client) Run(ctx context.Context) error {
	if err := sweep(c.o.File); err != nil {
		c.o.Log.WithError(err).Warn("incomplete copies of the host document stay")
	}
	var wg sync.WaitGroup
	wg.Go(func() { c.poll(ctx) })
	wg.Go(func() { c.send(ctx) })
	wg.Wait()
	return nil
}

// poll asks for a newer document for ever. After an error it asks for any document (version 0): a scheduler that lost its
// state counts from the start again and would hold back everything below our number.
func (c *Client) poll(ctx context.Context) {
	pause := backoff{first: c.o.FirstBackoff, max: c.o.MaxBackoff}
	version, lost := uint64(0), false
	for ctx.Err() == nil {
		began := time.Now()
		asked, _ := c.ask.Get()
		doc, err := c.fetch(ctx, version, asked)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errNews) {
			continue
		}
		if err != nil {
			c.trouble.Set(err.Error())
			if !lost {
				c.o.Log.WithError(err).Warn("no host document from the scheduler; going on with the last one")
			}
			version, lost = 0, true
			if !pause.wait(ctx) {
				return
			}
			continue
		}
		c.trouble.Set("")
		if lost {
			lost = false
			n, _ := c.returned.Get()
			c.returned.Set(n + 1)
			c.o.Log.Info("the scheduler answers")
		}
		now, _ := c.ask.Get()
		if doc == nil && now == asked && time.Since(began) < time.Second { // a scheduler that does not hold the poll must not be flooded
			if !pause.wait(ctx) {
				return
			}
			continue
		}
		pause.reset()
		if doc != nil {
			version = doc.Version
		}
	}
}

// errNews ends a poll because there is something to tell the scheduler.
var errNews = errors.New("another document is in force")

// fetch is one poll; nil without an error means no newer document, and perhaps a question.
func (c *Client) fetch(ctx context.Context, version uint64, asked spec.HostAsk) (*spec.HostDocument, error) {
	wait := c.wait()
	ctx, cancel := context.WithTimeout(ctx, wait+15*time.Second)
	defer cancel()
	at := fmt.Sprintf("%s/document?version=%d&wait=%s&survey=%d&anew=%d", c.base, version, wait, asked.Survey, asked.Anew)
	if c.o.Net {
		applied, news := c.applied.Get()
		at += "&for=net&applied=" + strconv.FormatUint(applied, 10)
		interrupted, interrupt := context.WithCancelCause(ctx)
		defer interrupt(nil)
		go func() {
			select {
			case <-news:
				interrupt(errNews)
			case <-interrupted.Done():
			}
		}()
		ctx = interrupted
	}
	sent := time.Now()
	resp, err := c.do(ctx, http.MethodGet, at, nil)
	if err != nil {
		if errors.Is(context.Cause(ctx), errNews) {
			return nil, errNews
		}
		return nil, fmt.Errorf("fetch host document: %w", err)
	}
	defer resp.Body.Close()
	if now := questions(resp.Header, asked); now != asked {
		c.ask.Set(now)
	}
	doc, err := c.take(resp)
	switch {
	case err == nil:
		c.contact.Set(sent)
	case errors.Is(context.Cause(ctx), errNews):
		return nil, errNews
	}
	return doc, err
}

// wait is how long the scheduler may hold a poll open. Well within the time for which the host may count on its addresses, as each
// answer begins it anew.
func (c *Client) wait() time.Duration {
	doc, _ := c.document.Get()
	if !c.o.Net || doc == nil || doc.FenceAfter <= 0 {
		return c.o.Wait
	}
	return min(c.o.Wait, max(doc.FenceAfter/4, time.Second))
}

// take reads an answer, and keeps the document in it.
func (c *Client) take(resp *http.Response) (*spec.HostDocument, error) {
	if resp.StatusCode == http.StatusNoContent {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("fetch host document: %w", err)
	}
	if len(body) > maxDocument {
		return nil, fmt.Errorf("fetch host document: longer than %d bytes", maxDocument)
	}
	doc, err := Decode(body, c.o.Host)
	if err != nil {
		return nil, err
	}
	if known, _ := c.document.Get(); known == nil || !reflect.DeepEqual(known, doc) {
		c.document.Set(doc) // first to those who wait for it, then to the disk
		if err := save(c.o.File, body); err != nil {
			c.o.Log.WithError(err).Error("host document not kept; a start without the scheduler would find an older one")
		}
	}
	return doc, nil
}

// questions are those in the headers of an answer; where there is none, or none that can be read, that of before stays.
func questions(h http.Header, asked spec.HostAsk) spec.HostAsk {
	for name, field := range map[string]*uint64{spec.HeaderSurvey: &asked.Survey, spec.HeaderAnew: &asked.Anew} {
		if n, err := strconv.ParseUint(h.Get(name), 10, 64); err == nil {
			*field = n
		}
	}
	return asked
}

// send posts the newest report whenever it differs from the last accepted one, and at times anyway. A scheduler that comes
// back may have forgotten everything, so it is told at once.
func (c *Client) send(ctx context.Context) {
	pause := backoff{first: c.o.FirstBackoff, max: c.o.MaxBackoff}
	var accepted *spec.HostReport
	for ctx.Err() == nil {
		report, changed := c.report.Get()
		_, returned := c.returned.Get()
		if report != nil && (accepted == nil || !reflect.DeepEqual(accepted, report)) {
			if err := c.post(ctx, news(accepted, report)); err != nil {
				if pause.next == 0 && ctx.Err() == nil {
					c.o.Log.WithError(err).Warn("report not accepted; trying again")
				}
				if !pause.wait(ctx) {
					return
				}
				continue
			}
			pause.reset()
			accepted = report
		}
		refresh := time.NewTimer(c.o.Refresh)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-returned:
			accepted = nil
		case <-refresh.C:
			accepted = nil
		}
		refresh.Stop()
	}
}

// news is the report without what is large and as the scheduler knows it already.
func news(accepted, r *spec.HostReport) *spec.HostReport {
	if accepted == nil || r.Endpoints == nil || !reflect.DeepEqual(accepted.Endpoints, r.Endpoints) {
		return r
	}
	out := *r
	out.Endpoints = nil
	return &out
}

func (c *Client) post(ctx context.Context, r *spec.HostReport) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	resp, err := c.do(ctx, http.MethodPost, c.base+"/report", body)
	if err != nil {
		return fmt.Errorf("post report: %w", err)
	}
	// The connection is used again only after the body has been read.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return resp.Body.Close()
}

// do sends a request; every status outside 2xx is an error that holds the beginning of the answer.
func (c *Client) do(ctx context.Context, method, at string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.o.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.o.Token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) // only for the message
		return nil, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	return resp, nil
}
