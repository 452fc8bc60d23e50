package delivery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// chunkBytes is the size of the parts in which a document goes.
const chunkBytes = 256 << 10

// send sends one frame. While it does, the guard watches that the plugin reads.
func (l *link) send(frame *pluginv1.DeliverRequest) error {
	l.alive()
	l.guard.Reset(hangAfter)
	defer l.guard.Stop()
	return l.stream.Send(frame)
}

// alive notes a sign of life.
func (l *link) alive() { l.heard.Store(int64(time.Since(l.born))) }

// stuck is what the guard runs: a frame is being sent for long. The plugin hangs unless it
// was heard meanwhile.
func (l *link) stuck() {
	silent := time.Since(l.born) - time.Duration(l.heard.Load())
	if silent < hangAfter {
		l.guard.Reset(hangAfter - silent)
		return
	}
	l.fail(fmt.Sprintf("it takes no events: a frame is being sent for more than %s", hangAfter))
}

// fail says that the instance hangs. It is not served again.
func (l *link) fail(why string) {
	l.s.mu.Lock()
	l.lost = true
	l.s.mu.Unlock()
	l.s.disconnect(l.instance, true)
	l.s.d.opts.Streams.FailInstance(l.instance, fmt.Sprintf("subscription %s: %s", l.s.name, why))
}

// open sends the first frame.
func (l *link) open() error {
	host, generation := l.s.d.bindings.ofHost(l.s.name)
	l.generation = generation
	for _, b := range host {
		if b.Enabled {
			l.tell(b)
		}
	}
	_, name, _ := strings.Cut(l.s.name, "/")
	open := &pluginv1.Open{Subscription: name, Bindings: &pluginv1.Bindings{Bindings: l.told}}
	if traces := l.s.d.opts.Traces; traces != nil {
		open.TraceShare = traces.Share()
	}
	return l.send(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Open{Open: open}})
}

// tell numbers a binding.
func (l *link) tell(b *Binding) uint32 {
	l.lastID++
	l.ids[b] = l.lastID
	w := &pluginv1.Binding{Id: l.lastID, Config: b.Config}
	if t := b.Template; t != nil {
		w.Template = &pluginv1.TemplateRef{Namespace: t.Namespace, Name: t.Name, Version: t.Version}
	}
	l.told = append(slices.Clip(l.told), w)
	return l.lastID
}

// bind returns the number of a binding, and whether the plugin has to be told of it.
func (l *link) bind(b *Binding) (id uint32, fresh bool) {
	if b == nil {
		return 0, false
	}
	if id, ok := l.ids[b]; ok {
		return id, false
	}
	return l.tell(b), true
}

// flush sends the frame that was put together.
func (l *link) flush() error {
	f := &l.frame
	if len(f.items) == 0 {
		return nil
	}
	if l.generation != l.seen { // what was told may be no more
		l.generation = l.seen
		l.told = nil
		clear(l.ids)
	}
	slab := make([]pluginv1.SequencedEvent, len(f.items)) // the library may keep what it is given
	events := make([]*pluginv1.SequencedEvent, len(f.items))
	news := false
	for i := range f.items {
		it := &f.items[i]
		id, fresh := l.bind(it.through)
		news = news || fresh
		e := &slab[i]
		e.Seq, e.Event, e.Delivery, e.Binding = it.entry.seq, it.entry.encoded, it.delivery, id
		events[i] = e
	}
	if news {
		if err := l.send(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Bindings{
			Bindings: &pluginv1.Bindings{Bindings: l.told},
		}}); err != nil {
			return err
		}
	}
	batch := &pluginv1.Batch{Events: events, GapThrough: f.gap}
	f.reset()
	return l.send(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Batch{Batch: batch}})
}

// restart tells the plugin which lanes come again.
func (l *link) restart() error {
	l.s.mu.Lock()
	lanes := l.s.m.restarts
	l.s.m.restarts = nil
	l.s.mu.Unlock()
	for _, lane := range lanes {
		if err := l.send(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Restart{
			Restart: &pluginv1.Restart{TaskId: lane},
		}}); err != nil {
			return err
		}
	}
	return nil
}

// answerFetches sends the documents that were asked for.
func (l *link) answerFetches(ctx context.Context) error {
	l.s.mu.Lock()
	fetches := l.fetches
	l.fetches = nil
	l.s.mu.Unlock()
	for _, f := range fetches {
		doc, failure := l.s.d.opts.Values.Value(ctx, task.ID(f.GetTaskId()), f.GetRef())
		if err := l.sendChunks(f.GetId(), doc, failure); err != nil {
			return err
		}
	}
	return nil
}

func (l *link) sendChunks(id uint64, doc []byte, failure error) error {
	if failure != nil {
		return l.sendChunk(&pluginv1.EventChunk{FetchId: id, Last: true, Error: cut(failure.Error())})
	}
	for len(doc) > chunkBytes {
		if err := l.sendChunk(&pluginv1.EventChunk{FetchId: id, Data: doc[:chunkBytes]}); err != nil {
			return err
		}
		doc = doc[chunkBytes:]
	}
	return l.sendChunk(&pluginv1.EventChunk{FetchId: id, Data: doc, Last: true})
}

func (l *link) sendChunk(c *pluginv1.EventChunk) error {
	return l.send(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Chunk{Chunk: c}})
}
