//! Gives the lifetimes that a type leaves open one name, so that the type can stand in an `impl`.

use proc_macro2::{Group, Ident, Punct, Spacing, Span, TokenStream, TokenTree};

/// Sets every lifetime but `'static`, also those left out after a `&`, to `name`.
pub fn set(tokens: TokenStream, name: &str) -> TokenStream {
    let mut result = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '\'' => match tokens.next() {
                Some(TokenTree::Ident(ident)) if ident == "static" => {
                    result.push(TokenTree::Punct(punct));
                    result.push(TokenTree::Ident(ident));
                }
                _ => result.extend(lifetime(name, punct.span())),
            },
            TokenTree::Punct(punct) if punct.as_char() == '&' => {
                let span = punct.span();
                result.push(TokenTree::Punct(punct));
                let is_named = matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == '\'');
                if !is_named {
                    result.extend(lifetime(name, span));
                }
            }
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), set(group.stream(), name));
                inner.set_span(group.span());
                result.push(TokenTree::Group(inner));
            }
            token => result.push(token),
        }
    }
    result.into_iter().collect()
}

/// Says whether a type borrows: whether it has a reference or a lifetime other than `'static`.
pub fn has_any(tokens: TokenStream) -> bool {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '\'' => match tokens.next() {
                Some(TokenTree::Ident(ident)) if ident == "static" => {}
                _ => return true,
            },
            TokenTree::Punct(punct) if punct.as_char() == '&' => {
                let is_named = matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == '\'');
                if !is_named {
                    return true;
                }
            }
            TokenTree::Group(group) if has_any(group.stream()) => return true,
            _ => {}
        }
    }
    false
}

fn lifetime(name: &str, span: Span) -> [TokenTree; 2] {
    let mut quote = Punct::new('\'', Spacing::Joint);
    quote.set_span(span);
    [TokenTree::Punct(quote), TokenTree::Ident(Ident::new(name, span))]
}
