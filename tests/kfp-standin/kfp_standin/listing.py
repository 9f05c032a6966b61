"""Pages, filters and orders of lists."""

import base64
import binascii
import json

from .problems import grpc

OPERATIONS = ["OPERATION_UNSPECIFIED", "EQUALS", "NOT_EQUALS", "GREATER_THAN", "GREATER_THAN_EQUALS", "LESS_THAN"]
OPERATIONS += ["LESS_THAN_EQUALS", "IN", "IS_SUBSTRING"]
VALUES = ["string_value", "int_value", "long_value", "timestamp_value", "string_values", "int_values", "long_values"]
DEFAULT, MOST = 20, 200


def page(rows, query, fields, title, before):
    """One page of `rows` (dicts) as {title: [...], total_size, next_page_token}; empty when nothing matches."""
    size = query.get("page_size", "0")
    try:
        size = int(size or 0)
    except ValueError:
        raise grpc(3, f'parsing field "page_size": strconv.ParseInt: parsing "{size}": invalid syntax') from None
    sort, filters, token = query.get("sort_by", ""), query.get("filter", ""), query.get("page_token", "")
    options = f"pageToken: {token}, pageSize: {size}, sortBy: {sort}, filter: {filters}: "
    predicates = parse_filter(filters, before)
    if size < 0:
        detail = f"The page size should be greater than 0. Got {size}"
        raise grpc(3, f"Failed to create list options: Invalid input error: {detail}", detail)
    size = min(size or DEFAULT, MOST)
    start = 0
    if token:
        try:
            state = json.loads(base64.b64decode(token, validate=True))
            start = int(state["start"])
        except (binascii.Error, ValueError, KeyError, TypeError):
            message = f"{before} due invalid list options: {options}InvalidInputError: Invalid page token"
            raise grpc(3, f"{message}: illegal base64 data at input byte 0", "Invalid page token") from None
        if (state["sort"], state["filter"]) != (sort, filters):
            detail = "page token does not match the supplied sort by and/or filtering criteria. Either specify the same criteria or leave the latter empty if page token is specified"
            raise grpc(3, f"Failed to create list options: Invalid input error: {detail}", detail)
    key, reverse = order(sort, fields, before, options)
    for predicate in predicates:
        if predicate["key"] not in fields:
            detail = f'no support for filtering on unrecognized field "{predicate["key"]}"'
            raise grpc(3, f"{before} due invalid list options: {options}Invalid input error: {detail}", detail)
    found = [row for row in rows if all(matches(row, predicate, fields) for predicate in predicates)]
    found.sort(key=lambda row: (str(row.get(fields[key]) or ""), str(row.get(fields["id"]))), reverse=reverse)
    if not found:
        return {}
    answer = {title: found[start : start + size], "total_size": len(found)}
    if start + size < len(found):
        state = {"start": start + size, "sort": sort, "filter": filters}
        answer["next_page_token"] = base64.b64encode(json.dumps(state).encode()).decode()
    return answer


def order(sort, fields, before, options):
    words = (sort or "created_at").split()
    if words[0] not in fields or len(words) > 2:
        kind = fields["kind"]
        detail = f'Invalid sorting field: "{words[0]}" on listable type {kind}'
        raise grpc(3, f"{before} due invalid list options: {options}Invalid input error: {detail}", detail)
    return words[0], words[-1] == "desc"


def parse_filter(text, before):
    if not text:
        return []
    title = f"{before} due to invalid tag filter in filter spec: Invalid input error: "

    def wrong(detail):
        return grpc(3, title + detail, detail)

    try:
        parsed = json.loads(text)
    except ValueError:
        raise wrong("failed to parse filter spec: proto: syntax error (line 1:1): invalid value name") from None
    for predicate in parsed.get("predicates", []):
        for field in predicate:
            if field not in ("operation", "key", *VALUES):
                raise wrong(f'failed to parse valid filter from "{text}": proto: (line 1:18): unknown field "{field}"')
        operation = predicate.get("operation")
        if isinstance(operation, int) and 0 < operation < len(OPERATIONS):
            predicate["operation"] = OPERATIONS[operation]
        elif operation not in OPERATIONS:
            raise wrong(f'failed to parse filter spec: proto: (line 1:31): invalid value for enum field operation: "{operation}"')
    return parsed.get("predicates", [])


def matches(row, predicate, fields):
    """As the database compares: its text knows no case."""
    have = str(row.get(fields[predicate["key"]]) or "").lower()
    wanted = next((predicate[name] for name in VALUES if name in predicate), "")
    if isinstance(wanted, dict):
        wanted = [str(value).lower() for value in wanted.get("values", [])]
    else:
        wanted = str(wanted).lower()
    return {
        "EQUALS": lambda: have == wanted,
        "NOT_EQUALS": lambda: have != wanted,
        "GREATER_THAN": lambda: have > wanted,
        "GREATER_THAN_EQUALS": lambda: have >= wanted,
        "LESS_THAN": lambda: have < wanted,
        "LESS_THAN_EQUALS": lambda: have <= wanted,
        "IN": lambda: have in wanted,
        "IS_SUBSTRING": lambda: wanted in have,
    }[predicate["operation"]]()
