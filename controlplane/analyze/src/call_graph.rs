//! Who calls whom, how often one call is tried, and the chains of calls that multiply most.

use std::collections::HashMap;

/// Calls between named nodes; `N` says of a call where its tries come from.
#[derive(Debug)]
pub(crate) struct CallGraph<N> {
    numbers: HashMap<String, usize>,
    names: Vec<String>,
    calls: Vec<HashMap<usize, (u64, Option<N>)>>,
}

/// A chain of calls.
#[derive(Debug)]
pub(crate) struct Chain<'g, N> {
    /// Where it begins.
    pub(crate) start: &'g str,
    /// How many calls one call at the start may become at the end.
    pub(crate) product: u64,
    /// Its calls.
    pub(crate) hops: Vec<Hop<'g, N>>,
}

/// A call of a chain.
#[derive(Debug)]
pub(crate) struct Hop<'g, N> {
    /// Who is called.
    pub(crate) to: &'g str,
    /// How often.
    pub(crate) factor: u64,
    /// Where the tries come from.
    pub(crate) note: Option<N>,
}

/// What is known of a node: whether it was visited, and the best chain from it as product and next node.
#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    Open,
    Done { product: u64, next: Option<usize> },
}

impl<N> Default for CallGraph<N> {
    fn default() -> Self {
        Self {
            numbers: HashMap::new(),
            names: Vec::new(),
            calls: Vec::new(),
        }
    }
}

impl<N: Copy> CallGraph<N> {
    /// The number of a node, which is added if it is new.
    pub(crate) fn node(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len();
        self.names.push(name.to_owned());
        self.calls.push(HashMap::new());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// Adds a call; of several between the same nodes the one with most tries counts.
    pub(crate) fn add(&mut self, from: usize, to: usize, factor: u64, note: Option<N>) {
        if from == to {
            return;
        }
        let Some(calls) = self.calls.get_mut(from) else {
            return;
        };
        let known = calls.entry(to).or_insert((factor, note));
        if known.0 < factor {
            *known = (factor, note);
        }
    }

    /// For each node that nobody calls the chain with the highest product, if that is above a bound; by name. Where calls go in a
    /// circle, each node of it counts once.
    pub(crate) fn chains(&self, bound: u64) -> Vec<Chain<'_, N>> {
        let mut called = vec![false; self.names.len()];
        for to in self.calls.iter().flat_map(HashMap::keys) {
            if let Some(called) = called.get_mut(*to) {
                *called = true;
            }
        }
        let mut states = vec![State::New; self.names.len()];
        let mut chains = Vec::new();
        for (root, _) in called.iter().enumerate().filter(|(_, called)| !**called) {
            self.visit(root, &mut states);
            if let Some(State::Done { product, .. }) = states.get(root)
                && *product > bound
            {
                chains.push(self.chain(root, *product, &states));
            }
        }
        chains.sort_by_key(|chain| chain.start);
        chains
    }

    /// Visits all that a node calls, without recursion, since chains may be long.
    fn visit(&self, root: usize, states: &mut [State]) {
        let mut stack = vec![(root, self.sorted_calls(root))];
        set(states, root, State::Open);
        while let Some((node, left)) = stack.last_mut() {
            let node = *node;
            match left.pop() {
                Some(next) if states.get(next) == Some(&State::New) => {
                    set(states, next, State::Open);
                    stack.push((next, self.sorted_calls(next)));
                }
                Some(_) => {}
                None => {
                    set(states, node, self.best(node, states));
                    stack.pop();
                }
            }
        }
    }

    /// The best chain from a node whose calls were all visited; those to nodes still open would close a circle.
    fn best(&self, node: usize, states: &[State]) -> State {
        let mut best = (1, None);
        for to in self.sorted_calls(node).into_iter().rev() {
            let Some(State::Done { product, .. }) = states.get(to) else {
                continue;
            };
            let product = product.saturating_mul(self.factor(node, to).0);
            if product > best.0 || best.1.is_none() {
                best = (product, Some(to));
            }
        }
        State::Done {
            product: best.0,
            next: best.1,
        }
    }

    fn chain(&self, start: usize, product: u64, states: &[State]) -> Chain<'_, N> {
        let mut hops = Vec::new();
        let mut node = start;
        while let Some(State::Done {
            next: Some(next), ..
        }) = states.get(node)
        {
            let (factor, note) = self.factor(node, *next);
            let to = self.name(*next);
            hops.push(Hop { to, factor, note });
            node = *next;
        }
        // What comes after the last retry adds nothing.
        while hops.last().is_some_and(|hop| hop.factor == 1) {
            hops.pop();
        }
        Chain {
            start: self.name(start),
            product,
            hops,
        }
    }

    fn factor(&self, from: usize, to: usize) -> (u64, Option<N>) {
        let calls = self.calls.get(from);
        calls
            .and_then(|calls| calls.get(&to))
            .copied()
            .unwrap_or((1, None))
    }

    fn name(&self, node: usize) -> &str {
        self.names.get(node).map_or("", |name| name)
    }

    /// Whom a node calls, the first by name last.
    fn sorted_calls(&self, node: usize) -> Vec<usize> {
        let mut calls: Vec<usize> = self
            .calls
            .get(node)
            .into_iter()
            .flat_map(HashMap::keys)
            .copied()
            .collect();
        calls.sort_unstable_by(|one, two| self.name(*two).cmp(self.name(*one)));
        calls
    }
}

fn set(states: &mut [State], node: usize, state: State) {
    if let Some(slot) = states.get_mut(node) {
        *slot = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(calls: &[(&str, &str, u64)]) -> CallGraph<()> {
        let mut graph = CallGraph::default();
        for (from, to, factor) in calls {
            let (from, to) = (graph.node(from), graph.node(to));
            graph.add(from, to, *factor, None);
        }
        graph
    }

    fn found(calls: &[(&str, &str, u64)], bound: u64) -> Vec<(String, u64, Vec<String>)> {
        graph(calls)
            .chains(bound)
            .iter()
            .map(|chain| {
                let hops = chain.hops.iter().map(|hop| hop.to.to_owned());
                (chain.start.to_owned(), chain.product, hops.collect())
            })
            .collect()
    }

    #[test]
    fn the_chain_that_multiplies_most_is_found() {
        let calls = [
            ("a", "b", 3),
            ("b", "c", 3),
            ("a", "c", 4),
            ("c", "d", 1),
            ("x", "c", 2),
        ];
        let hops = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(found(&calls, 8), [("a".to_owned(), 9, hops(&["b", "c"]))]);
        assert_eq!(found(&calls, 9), []);
        assert_eq!(found(&calls, 1).len(), 2);
    }

    #[test]
    fn circles_end() {
        let calls = [("a", "b", 3), ("b", "c", 3), ("c", "b", 3), ("c", "c", 9)];
        assert_eq!(found(&calls, 1)[0].1, 9);
        assert_eq!(found(&[("a", "b", 9), ("b", "a", 9)], 1), []);
    }

    #[test]
    fn long_chains_neither_overflow_nor_recurse() {
        let names: Vec<String> = (0..100_000).map(|number| format!("{number:06}")).collect();
        let mut graph: CallGraph<()> = CallGraph::default();
        for pair in names.windows(2) {
            let (from, to) = (graph.node(&pair[0]), graph.node(&pair[1]));
            graph.add(from, to, 2, None);
        }
        assert_eq!(graph.chains(1)[0].product, u64::MAX);
    }
}
