//! Paged lists, in the JSON form of Spring Data.

use super::problem::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// From 0.
    pub number: u32,
    /// 1 to 1000.
    pub size: u32,
}

impl PageRequest {
    pub fn of(number: PageNumber, size: PageSize) -> Self {
        Self { number: number.0, size: size.0 }
    }

    /// The page that follows an id (`after`): it has no number.
    pub fn following(number: PageNumber, size: PageSize) -> Result<Self, Problem> {
        match number.0 {
            0 => Ok(Self::of(number, size)),
            _ => Err(Problem::invalid_field("page", "expected no page together with after")),
        }
    }

    /// Number of items before this page.
    pub fn offset(self) -> i64 {
        i64::from(self.number) * i64::from(self.size)
    }
}

/// Query parameter `page`: from 0, default 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageNumber(pub u32);

/// Query parameter `size`: 1 to 1000, default 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize(pub u32);

impl Default for PageSize {
    fn default() -> Self {
        PageSize(10)
    }
}

/// Query parameter `after`: the id of the last item read, which need not exist any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AfterId(pub i64);

/// Spring Data's `Sort`, as it shows unsorted: clients do not read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sort {
    pub empty: bool,
    pub sorted: bool,
    pub unsorted: bool,
}

impl Sort {
    const NONE: Sort = Sort { empty: true, sorted: false, unsorted: true };
}

/// Spring Data's `Pageable`: what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pageable {
    pub page_number: u32,
    pub page_size: u32,
    pub sort: Sort,
    pub offset: i64,
    pub paged: bool,
    pub unpaged: bool,
}

/// One page of a list in stable order, with how much there is in all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    pub content: Vec<T>,
    pub pageable: Pageable,
    pub last: bool,
    pub total_pages: i64,
    pub total_elements: i64,
    pub size: u32,
    pub number: u32,
    pub first: bool,
    pub number_of_elements: usize,
    pub sort: Sort,
    pub empty: bool,
}

impl<T> Page<T> {
    /// `total` counts the items of all pages. It may be older than the content, and is never shown below it.
    pub fn new(request: PageRequest, content: Vec<T>, total: i64) -> Self {
        let size = i64::from(request.size);
        let shown = if content.is_empty() { 0 } else { request.offset() + content.len() as i64 };
        let total = total.max(shown);
        let total_pages = (total + size - 1) / size;
        Page {
            pageable: Pageable {
                page_number: request.number,
                page_size: request.size,
                sort: Sort::NONE,
                offset: request.offset(),
                paged: true,
                unpaged: false,
            },
            last: i64::from(request.number) + 1 >= total_pages,
            total_pages,
            total_elements: total,
            size: request.size,
            number: request.number,
            first: request.number == 0,
            number_of_elements: content.len(),
            sort: Sort::NONE,
            empty: content.is_empty(),
            content,
        }
    }

    /// A page of a list read by `after`: its totals are not counted, and only show whether more items follow. It may
    /// have fewer items than requested although more follow.
    pub fn following(request: PageRequest, content: Vec<T>, more: bool) -> Self {
        let total = content.len() as i64 + i64::from(more);
        let pages = if more { 2 } else { i64::from(!content.is_empty()) };
        Page { last: !more, total_pages: pages, ..Self::new(request, content, total) }
    }

    /// Like `following`, from one item more than requested: if there is one, more items follow.
    pub fn from_one_more(request: PageRequest, mut items: Vec<T>) -> Self {
        let size = request.size as usize;
        let more = items.len() > size;
        items.truncate(size);
        Self::following(request, items, more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_members_match_spring_data() {
        let page = Page::new(PageRequest { number: 1, size: 3 }, vec![4, 5, 6], 9);
        assert_eq!((page.total_pages, page.last, page.first, page.pageable.offset), (3, false, false, 3));
        let beyond = Page::<i32>::new(PageRequest { number: 7, size: 3 }, vec![], 9);
        assert!(beyond.empty && beyond.last && beyond.total_elements == 9);
        let empty = Page::<i32>::new(PageRequest { number: 0, size: 10 }, vec![], 0);
        assert_eq!((empty.total_pages, empty.first, empty.last), (0, true, true));
    }

    #[test]
    fn total_older_than_the_content_is_raised_to_it() {
        let page = Page::new(PageRequest { number: 2, size: 3 }, vec![7, 8], 5);
        assert_eq!((page.total_elements, page.total_pages, page.last), (8, 3, true));
    }

    #[test]
    fn page_read_by_after_shows_whether_more_follow() {
        let request = PageRequest { number: 0, size: 3 };
        let shown = |page: Page<i32>| (page.total_elements, page.total_pages, page.last);
        assert_eq!(shown(Page::following(request, vec![1, 2, 3], true)), (4, 2, false));
        assert_eq!(shown(Page::following(request, vec![1], true)), (2, 2, false), "cut short");
        assert_eq!(shown(Page::following(request, vec![1, 2, 3], false)), (3, 1, true));
        assert_eq!(shown(Page::following(request, vec![], false)), (0, 0, true));
        let page = Page::from_one_more(request, vec![1, 2, 3, 4]);
        assert_eq!((page.content.clone(), shown(page)), (vec![1, 2, 3], (4, 2, false)));
        assert_eq!(shown(Page::from_one_more(request, vec![1, 2, 3])), (3, 1, true));
    }
}
